"""Where the next claim from a queue begins: at the start of the queue, or behind what was claimed before.

While an old transaction is open, PostgreSQL keeps the index entries of all messages that were claimed since. A claim
from the start of the queue steps over each of these dead entries. So a worker remembers the *front* of the queue: for
each priority, the id of the last message that it took. New messages have larger ids, so a claim may begin there.

What must not be passed over are messages that get behind the front late: their transaction was long, or they are
requeued. The rules:

- As long as looks from the start are quick, all claims begin at the start. Otherwise they take a fixed share of the
  time (``Pace``), and find whatever came late.
- Between them, a claim begins at the front while claims find all that they ask for.
- After a claim that found less, the next claim begins where the front was a second ago, so that a message that is a
  little late is found at once.
- After such a claim the queue is empty as far as one can see. The front moves to the newest message of that time,
  because other workers may have taken more than this worker.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from taskq.records import Claimed

from .pace import Pace

#: A look from the start is quick if it takes so many seconds, and so many more for each of its messages.
_QUICK, _EACH = 0.002, 0.00003
#: How old the front is, in seconds and at least, at which a claim begins that follows one which found too little.
_LATE = 1.0
_PRIORITIES = range(10)


@dataclass(slots=True)
class QueueFront:
    """Decides for one queue where the next claim begins.

    If not ``keeps_dead_entries``, the database has none, and all claims begin at the start.
    """

    keeps_dead_entries: bool
    #: By priority, the id of the last message that was taken.
    _front: dict[int, int] = field(default_factory=dict)
    #: Two copies of the front. The older one was made at least ``_LATE`` seconds before the other.
    _copy: dict[int, int] = field(default_factory=dict)
    _older_copy: dict[int, int] = field(default_factory=dict)
    #: When the next copy is made, by the monotonic clock.
    _next_copy: float = 0.0
    #: Whether the last claim found less than it asked for.
    _found_less: bool = False
    #: When a claim looks from the start.
    pace: Pace = field(default_factory=partial(Pace, quick=_QUICK))

    def after(self) -> Mapping[int, int] | None:
        """Return, by priority, the id behind which the next claim looks; ``None`` for a look from the start."""
        if not self._front or self.pace.is_due:
            return None
        return self._older_copy or self._front if self._found_less else self._front

    @property
    def asks_for_newest(self) -> bool:
        """Whether ``note`` wants to know the newest message from before the claim: the claim may find the last one."""
        return self._found_less and not self.pace.is_quick

    def note(
        self,
        claimed: Sequence[Claimed],
        seconds: float,
        after: Mapping[int, int] | None,
        *,
        found_less: bool = False,
        newest: int | None = None,
    ) -> None:
        """Take in a claim: its messages, in their order, how many ``seconds`` it took, and what ``after`` had returned.

        ``found_less`` tells whether it found less than it asked for, ``newest`` is what ``asks_for_newest`` asks for.
        """
        if not self.keeps_dead_entries:
            return
        self._copy_in_time()
        # Not the largest id so far: if this claim found some below that, there may be more of them.
        self._front.update((message.priority, message.id) for message in claimed)
        if found_less and newest is not None:
            self._front.update(dict.fromkeys(_PRIORITIES, newest))
        self._found_less = found_less
        if after is None:
            self.pace.note(seconds - _EACH * len(claimed))

    def _copy_in_time(self) -> None:
        if (now := time.monotonic()) >= self._next_copy:
            self._older_copy, self._copy, self._next_copy = self._copy, dict(self._front), now + _LATE
