"""How often to read an index from its start. An old transaction keeps dead entries in it, which a read steps over."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """Says when the next look is due. Quick looks are due at any time, slow ones take a fixed share of the time.

    A look of up to ``quick`` seconds is quick. A pause of ``pauses`` times its duration follows a slow look.
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
        # Two looks in a row have to be slow: a single one may be the fault of a busy machine.
        slow, self._last = min(seconds, self._last), seconds
        self.is_quick = slow <= self.quick
        if not self.is_quick:
            self.next_look = time.monotonic() + self.pauses * slow
