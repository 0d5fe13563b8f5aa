"""Parts: a duty of the store thread that works off what was too large for one transaction, a part at a time.

A message may name 140,000 tasks that follow from the end of one. What this worker's own settlements leave over is known
at once; what others leave is looked for at the start, and once a minute. Between two parts everybody else
gets their turn, for at least as long as a part takes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from taskq.store import parts
from taskq.store.log_lines import parts_left

from .lease import WorkerLease
from .store_thread import Duty

#: The least pause between two parts, and the time between two looks, in seconds.
_PAUSE, _EVERY = 0.005, 60.0


class Parts(Duty):
    """Works off pending follow-ups. Used on the store thread, but ``note``. ``wake`` wakes that thread."""

    def __init__(self, lease: WorkerLease, alias: str, wake: Callable[[], None] = lambda: None) -> None:
        self._lease = lease
        self._alias = alias
        self._wake = wake
        self._rows: deque[str] = deque()
        self._next_step = 0.0
        self._next_look = 0.0
        parts_left.subscribe(self.note)

    def end(self) -> None:
        """Note nothing more."""
        parts_left.unsubscribe(self.note)

    def note(self, rows: Sequence[str], alias: str) -> None:
        """Work off these pending rows, which are committed. May be called on any thread: a task may revoke others."""
        if alias == self._alias:
            self._rows.extend(rows)
            self._wake()

    def _look(self) -> None:
        self._next_look = time.monotonic() + _EVERY
        found = parts.pending_rows(self._alias)
        # A copy, which no other thread extends meanwhile.
        known = frozenset(self._rows.copy())
        self._rows.extend(row for row in found if row not in known)

    def work(self) -> bool:
        """Work off one part, if it is time."""
        if not self._lease.token:
            return False
        now = time.monotonic()
        if now >= self._next_look:
            self._look()
        if self._rows and now >= self._next_step:
            self._step()
        return False

    def _step(self) -> None:
        began = time.monotonic()
        try:
            # Not taken off before that: the database may be away.
            parts.work_off(self._rows[0], self._alias)
            self._rows.popleft()
        finally:
            now = time.monotonic()
            self._next_step = now + max(_PAUSE, now - began)

    def due(self) -> float | None:
        """Return the seconds to the next part, or to the next look."""
        return (self._next_step if self._rows else self._next_look) - time.monotonic()
