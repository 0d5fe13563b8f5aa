"""How often to look where a look may be slow, because it steps over all that an old transaction keeps."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """Lets looks be made at any time while they are quick, and has slow ones take a fixed share of the time.

    A look of up to ``quick`` seconds is quick. After a slow look there is a pause of ``pauses`` times its duration.
    """

    pauses: float = 20.0
    quick: float = 0.01
    #: When the next look may be made, by the monotonic clock.
    next_look: float = 0.0
    #: How long the last look took.
    _last: float = 0.0
    #: Whether there was no slow look lately.
    is_quick: bool = True

    @property
    def is_due(self) -> bool:
        """Whether a look may be made now."""
        return time.monotonic() >= self.next_look

    def note(self, seconds: float) -> None:
        """Take in how long a look took."""
        # A machine that stood still is no reason: two looks in a row have to be slow.
        slow, self._last = min(seconds, self._last), seconds
        self.is_quick = slow <= self.quick
        if not self.is_quick:
            self.next_look = time.monotonic() + self.pauses * slow
