"""Shared rates: a duty of the store thread that reads which limits hold for all workers.

A task whose limit is for all workers may have none now, and costs nothing then. The row of the limit can change at any
time, by a command to another worker or by hand.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from taskq.engines.marks import mark
from taskq.store import rates

from .pace import Pace
from .store_thread import Duty

#: Seconds between two looks, where the database only notifies that something has changed.
_EVERY = 0.5
_MARK = mark(rates.RATES_NAME)


class SharedRates(Duty):
    """Reads the limits of all workers for the tasks in ``defined``, which has their limits in the code.

    ``changed`` is called with a task and its new limit, ``None`` for no limit. It is not called for what is in
    ``defined``. ``poll`` is the seconds after which the rows are read without a notification.
    """

    __slots__ = ("_alias", "_changed", "_defined", "_next", "_pace", "_poll", "_present", "_read_at")

    def __init__(
        self,
        defined: Mapping[str, float | None],
        alias: str,
        changed: Callable[[str, float | None], None],
        *,
        poll: float,
    ) -> None:
        self._defined = defined
        self._present = dict(defined)
        self._alias = alias
        self._changed = changed
        self._poll = poll
        self._next = 0.0 if defined else math.inf
        self._read_at = -_EVERY
        self._pace = Pace()

    def work(self) -> bool:
        """Read the limits when it is time."""
        if time.monotonic() >= self._next:
            self.read()
        return False

    def read(self) -> None:
        """Read the limits, and tell which have changed."""
        self._read_at = time.monotonic()
        present = rates.current(self._defined, self._alias)
        self._pace.note(time.monotonic() - self._read_at)
        self._next = self._read_at + self._poll
        before, self._present = self._present, present
        for task, rate in present.items():
            if rate != before[task]:
                self._changed(task, rate)

    def due(self) -> float | None:
        """Return the seconds until the limits are read."""
        return self._next - time.monotonic() if self._defined else None

    def on_notification(self, marks: set[str] | None) -> None:
        """Read the limits at once if the notification names them, soon if it names nothing."""
        if self._defined and (marks is None or _MARK in marks):
            soon = 0.0 if marks is not None else max(self._read_at + _EVERY, self._pace.next_look)
            self._next = min(self._next, soon)
