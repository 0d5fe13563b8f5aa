"""Where the messages begin that still wait in a queue, as far as a worker knows from its own claims.

While an old transaction is open, PostgreSQL keeps the index entries of all messages that were claimed since, and a
claim that looks from the start of the queue steps over them. So a claim may begin behind what was there before: after
the last message that was taken, for each priority by itself, or where a claim found nothing more, after the newest
message of that time.

Messages with smaller ids come late: their transaction was long, or they are requeued. While claims find all that they
ask for, they begin at the front. Otherwise they begin where the front was a second ago, so that what comes a little
late is found at once. The rest is found by claims that look from the start: as long as these are quick, all do;
otherwise they take a fixed share of the time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from taskq.records import Claimed

from .pace import Pace

#: Seconds that a claim from the start may take for each of its messages, and besides, while all claims begin there.
_EACH, _BESIDES = 0.00003, 0.002
#: Seconds, at least, for which a claim that finds little begins where the front was.
_LATE = 1.0
_PRIORITIES = range(10)


@dataclass(slots=True)
class QueueFront:
    """Decides for one queue where the next claim begins. ``kept`` tells whether the database keeps dead entries."""

    kept: bool
    #: The id of the last message that was taken, by priority; then what that was when it was last noted, and before.
    _last: dict[int, int] = field(default_factory=dict)
    _later: dict[int, int] = field(default_factory=dict)
    _earlier: dict[int, int] = field(default_factory=dict)
    #: When to note it again.
    _turn: float = 0.0
    #: Whether the last claim found less than it asked for.
    _short: bool = False
    #: When claims look from the start.
    pace: Pace = field(default_factory=partial(Pace, quick=_BESIDES))

    def after(self) -> Mapping[int, int] | None:
        """Return, by priority, the id after which the next claim looks; ``None`` for a look from the start."""
        if not self._last or self.pace.is_due:
            return None
        return self._earlier or self._last if self._short else self._last

    @property
    def asks_for_newest(self) -> bool:
        """Whether ``note`` wants to know the newest message from before the claim: it may find no others."""
        return self._short and not self.pace.is_quick

    def note(
        self,
        claimed: Sequence[Claimed],
        seconds: float,
        after: Mapping[int, int] | None,
        *,
        short: bool = False,
        newest: int | None = None,
    ) -> None:
        """Take in what a claim got, in its order, how long it took, and whether it got less than it asked for."""
        if not self.kept:
            return
        self._short = short
        if (now := time.monotonic()) >= self._turn:
            self._earlier, self._later, self._turn = self._later, dict(self._last), now + _LATE
        # Not the largest id so far: below that there may be more, if this claim found some there.
        self._last.update((message.priority, message.id) for message in claimed)
        if short and newest is not None:
            self._last.update(dict.fromkeys(_PRIORITIES, newest))
        if after is None:
            self.pace.note(seconds - _EACH * len(claimed))
