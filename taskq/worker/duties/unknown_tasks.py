"""Messages that workers of another version did not know: a worker that knows their tasks has them come back.

A duty of the store thread. ``loop.returns`` puts such messages back.
"""

from __future__ import annotations

import math
import time

from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.store.promote import hasten_unknown

from .store_thread import Duty

#: Seconds between two looks, and the same as a multiple of the time that the last look took.
_EVERY, _PAUSES = 5.0, 20.0


class UnknownTasks(Duty):
    """Looks for such messages when the worker starts, and for ``TASKQ_UNKNOWN_TASK_GRACE`` after there were some.

    One look is not enough: workers that don't know the tasks may be quicker to take what came back.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._grace = settings.UNKNOWN_TASK_GRACE
        #: When to look next, and when there is no more reason to.
        self._next_look = 0.0 if self._grace else math.inf
        self._until = 0.0

    def work(self) -> bool:
        """Have the messages come back now whose tasks this worker has, if it is time to look."""
        began = time.monotonic()
        if began < self._next_look:
            return False
        found = hasten_unknown(tasks.keys(), self._grace, self._alias)
        now = time.monotonic()
        if found or not self._until:
            self._until = now + self._grace
        self._next_look = now + max(_EVERY, _PAUSES * (now - began)) if now < self._until else math.inf
        return False

    def due(self) -> float | None:
        """Return the seconds to the next look."""
        return self._next_look - time.monotonic()
