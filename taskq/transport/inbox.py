"""What a channel has claimed and not yet handed over.

One message is claimed at a time, so that others get theirs and a queue's length is
what a person expects; more are while a consumer empties each claim in a moment.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from taskq.records import Claimed

#: Messages that are claimed together, at most.
MOST = 32
#: Seconds in which a claim has to be used up for the next to be larger.
SOON = 0.05


class Inbox:
    """The claimed messages of a channel, by queue."""

    def __init__(self) -> None:
        self._ready: dict[str, deque[Claimed]] = {}
        #: How many the last claim on a queue got, and when.
        self._last: dict[str, tuple[int, float]] = {}

    def wanted(self, queue: str, room: int | None) -> int:
        """Return how many messages to claim; ``room`` is how many more the consumer may have out."""
        got, at = self._last.get(queue, (0, 0.0))
        limit = min(MOST, got * 2) if monotonic() - at < SOON else 1
        return max(1, limit if room is None else min(limit, room))

    def put(self, queue: str, limit: int, claimed: list[Claimed]) -> None:
        """Keep what a claim of up to ``limit`` messages got."""
        self._last[queue] = (limit if len(claimed) == limit else 0, monotonic())
        if claimed:
            self._ready.setdefault(queue, deque()).extend(claimed)

    def take(self, queue: str) -> Claimed | None:
        """Return the next message of a queue, or ``None`` if a claim is needed."""
        ready = self._ready.get(queue)
        return ready.popleft() if ready else None

    def take_all(self, queue: str | None = None) -> list[int]:
        """Forget what is left, of one queue or of all; return the messages' ids."""
        queues = list(self._ready) if queue is None else [queue]
        return [claimed.id for name in queues for claimed in self._ready.pop(name, ())]
