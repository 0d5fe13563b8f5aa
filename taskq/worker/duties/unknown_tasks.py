"""Messages that workers of another version did not know: a worker that knows their tasks has them come back.

A duty of the store thread, behind the source: the first tasks of a worker do not wait for its look. ``loop.returns``
puts such messages back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.store.promote import SchedulePlace, hasten_unknown

from .store_thread import Duty

#: Seconds between two looks, and the same as a multiple of the time that the last look took.
_EVERY, _PAUSES = 5.0, 20.0
#: A worker looks for so many times the grace, at most: if it never gets to the messages, they fail at last.
_LONGEST = 10


class UnknownTasks(Duty):
    """Looks for such messages when the worker starts, and for ``TASKQ_UNKNOWN_TASK_GRACE`` after there were some.

    One look is not enough: workers that don't know the tasks may be quicker to claim the messages. A look has short
    steps, as there may be many messages. ``queues()`` are those that the worker reads.
    """

    def __init__(self, alias: str, queues: Callable[[], Collection[str]]) -> None:
        self._alias = alias
        self._queues = queues
        self._grace = settings.UNKNOWN_TASK_GRACE
        #: When to look next; when to stop looking, which each message that is found puts off; and until when at most.
        self._next_look = 0.0 if self._grace else math.inf
        self._until, self._longest = 0.0, math.inf
        #: The look that goes on: where its next step begins, how many it has found, and how long it has worked.
        self._after: SchedulePlace | None = None
        self._found, self._took = 0, 0.0

    def work(self) -> bool:
        """Have the messages come back now whose tasks this worker has, if it is time to look; one step of the look."""
        began = time.monotonic()
        if began < self._next_look:
            return False
        found, self._after = hasten_unknown(tasks.keys(), self._queues(), self._grace, self._after, self._alias)
        now = time.monotonic()
        self._found += found
        self._took += now - began
        if self._after is not None:
            return True
        if not self._until:
            self._longest = now + _LONGEST * self._grace
        if self._found or not self._until:
            self._until = min(now + self._grace, self._longest)
        self._next_look = now + max(_EVERY, _PAUSES * self._took) if now < self._until else math.inf
        self._found, self._took = 0, 0.0
        return False

    def due(self) -> float | None:
        """Return the seconds to the next look."""
        return self._next_look - time.monotonic()
