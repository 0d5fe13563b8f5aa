"""One timer for all hard time limits of a pool.

kombu's timer keeps a cancelled entry until it would have been due: with an entry
for each task that has a limit it would grow for hours. Here an entry waits five
seconds at most, and there is one, or a few when sooner deadlines came later.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .hub import Hub

_LONGEST_WAIT = 5.0


class Deadlines:
    """Calls ``check`` when a deadline has passed, or sooner; ``check`` looks which, and adds the next ones."""

    def __init__(self, hub: Hub, check: Callable[[], None]) -> None:
        self._hub = hub
        self._check = check
        self._next: float | None = None

    def add(self, deadline: float) -> None:
        """Have ``check`` called at ``deadline`` (``time.monotonic()``), or sooner."""
        now = time.monotonic()
        due = min(deadline, now + _LONGEST_WAIT)
        if self._next is None or due < self._next:
            self._next = due
            self._hub.call_later(max(0.0, due - now), self._fire, due)

    def _fire(self, due: float) -> None:
        if self._next == due:
            self._next = None
            self._check()
