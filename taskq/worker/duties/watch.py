"""A watch: a duty that reads a few rows which others may change at any time, soon after they do."""

from __future__ import annotations

import math
import time

from taskq.engines.marks import mark

from .pace import Pace
from .store_thread import Duty

#: Seconds between two looks, where the database only notifies that something has changed.
_EVERY = 0.5


class Watch(Duty):
    """Calls ``read`` at once, when the database notifies of ``name``, and after ``poll`` seconds without that.

    With ``idle`` there is nothing to read, and no look is made.
    """

    def __init__(self, name: str, *, poll: float, idle: bool = False) -> None:
        self._mark = mark(name)
        self._poll = poll
        self._idle = idle
        self._next = math.inf if idle else 0.0
        self._read_at = -_EVERY
        self._pace = Pace()

    def read(self) -> float | None:
        """Read the rows; return the seconds until they mean something else, as when a pause ends, or ``None``."""
        raise NotImplementedError

    def work(self) -> bool:
        """Read the rows when it is time."""
        if time.monotonic() >= self._next:
            self._read_at = time.monotonic()
            changes = self.read()
            self._pace.note(time.monotonic() - self._read_at)
            self._next = self._read_at + (self._poll if changes is None else min(self._poll, changes))
        return False

    def due(self) -> float | None:
        """Return the seconds until the rows are read."""
        return None if self._idle else self._next - time.monotonic()

    def on_notification(self, marks: set[str] | None) -> None:
        """Read the rows at once if the notification names them, soon if it names nothing."""
        if not self._idle and (marks is None or self._mark in marks):
            soon = 0.0 if marks is not None else max(self._read_at + _EVERY, self._pace.next_look)
            self._next = min(self._next, soon)
