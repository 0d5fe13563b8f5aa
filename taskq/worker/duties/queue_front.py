"""Where the messages begin that still wait in a queue, as far as a worker knows from its own claims.

While an old transaction is open, PostgreSQL keeps the index entries of all messages that were claimed since, and a
claim that looks from the start of the queue steps over them. So a claim may begin after the last message that was
taken, for each priority by itself. Messages with smaller ids come late: they are requeued, or their transaction was
long. They are found by claims that look from the start. As long as these are quick, all do; otherwise they take a fixed
share of the time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taskq.records import Claimed

#: Seconds for the rows that were stepped over, below which a look from the start is quick.
_QUICK = 0.01
#: Seconds that a claim may take for each of its messages.
_EACH = 0.0001
#: A look from the start that was slow is followed by a pause of so many times its duration.
_PAUSES = 20


@dataclass(slots=True)
class QueueFront:
    """Decides for one queue where the next claim begins. ``kept`` tells whether the database keeps dead entries."""

    kept: bool
    #: The id of the last message that was taken, by priority.
    _last: dict[int, int] = field(default_factory=dict)
    #: How long the last look from the start was slow.
    _slow: float = 0.0
    #: When a claim looks from the start again, by the monotonic clock.
    next_look: float = 0.0

    def after(self) -> Mapping[int, int] | None:
        """Return, by priority, the id after which the next claim looks; ``None`` for a look from the start."""
        return self._last if self._last and time.monotonic() < self.next_look else None

    def note(self, claimed: Sequence[Claimed], seconds: float, after: Mapping[int, int] | None) -> None:
        """Take in what a claim got, in its order, and how long it took."""
        if not self.kept:
            return
        # Not the largest id so far: below that there may be more, if this claim found some there.
        self._last.update((message.priority, message.id) for message in claimed)
        if after is None:
            slow = seconds - _EACH * len(claimed)
            # A machine that stood still is no reason: two looks in a row have to be slow.
            stepping, self._slow = min(slow, self._slow), slow
            if stepping > _QUICK:
                self.next_look = time.monotonic() + _PAUSES * stepping
