"""The prefetch buffer: messages that a channel has claimed and not yet handed over.

One message is claimed at a time, so that other consumers get messages too and the length of
a queue is true. While a consumer handles each claim within a moment, claims grow.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from taskq.records import Claimed

#: How many messages one claim takes, at most.
MOST = 32
#: Seconds in which a claim must be used up for the next claim to be larger.
SOON = 0.05


class PrefetchBuffer:
    """The claimed messages of a channel that are not handed over, by queue."""

    def __init__(self) -> None:
        self._ready: dict[str, deque[Claimed]] = {}
        #: For each queue, the number of messages that the last claim got, and when.
        self._last: dict[str, tuple[int, float]] = {}

    def wanted(self, queue: str, room: int | None) -> int:
        """Return how many messages to claim; ``room`` is how many more the consumer may have unacknowledged."""
        got, at = self._last.get(queue, (0, 0.0))
        limit = min(MOST, got * 2) if monotonic() - at < SOON else 1
        return max(1, limit if room is None else min(limit, room))

    def put(self, queue: str, limit: int, claimed: list[Claimed]) -> None:
        """Add the messages of a claim of up to ``limit``."""
        self._last[queue] = (limit if len(claimed) == limit else 0, monotonic())
        if claimed:
            self._ready.setdefault(queue, deque()).extend(claimed)

    def note(self, queue: str, found: bool) -> None:
        """Note that one message was taken without a claim, or that there was none."""
        self._last[queue] = (int(found), monotonic())

    def take(self, queue: str) -> Claimed | None:
        """Return the next message of a queue, or ``None`` if a claim is needed."""
        ready = self._ready.get(queue)
        return ready.popleft() if ready else None

    def take_all(self, queue: str | None = None) -> list[int]:
        """Remove the messages of one queue, or of all; return their ids."""
        queues = list(self._ready) if queue is None else [queue]
        return [claimed.id for name in queues for claimed in self._ready.pop(name, ())]
