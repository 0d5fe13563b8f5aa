"""One timer for all deadlines of a pool.

kombu's timer keeps a cancelled entry until it would have been due: with one entry
for each limited task it would grow for hours. Here an entry waits a few seconds
at most, and there is one unless a sooner deadline has overtaken it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .loop import Loop

_LONGEST_WAIT = 5.0


class Deadlines:
    """Calls ``check`` when a deadline has passed, or sooner; who is late, and what comes next, ``check`` finds out."""

    def __init__(self, hub: Loop, check: Callable[[], None]) -> None:
        self._hub = hub
        self._check = check
        self._next: float | None = None

    def expect(self, deadline: float) -> None:
        """See to it that ``check`` is called at ``deadline`` (``time.monotonic()``)."""
        now = time.monotonic()
        due = min(deadline, now + _LONGEST_WAIT)
        if self._next is None or due < self._next:
            self._next = due
            self._hub.call_later(max(0.0, due - now), self._fire, due)

    def _fire(self, due: float) -> None:
        if self._next == due:
            self._next = None
            self._check()
