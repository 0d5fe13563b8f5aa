"""Rate limits of one worker: which parkings hold messages, and how many of them may start now.

Used by the source, on the store thread only. A bucket counts no tokens: it knows when the next start is free, and moves
that on with each start. Nothing is done between two such moments, however many messages are parked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from taskq.messages.parking import home, parked_task, parking
from taskq.rates import Starts

#: While messages are parked, the unused starts of so many last seconds may still be used.
_SLACK = 2.0
#: Seconds between two claims of one task, at least: several starts of a high rate come together.
_APART = 0.02


class Bucket(Protocol):
    """The starts of one task."""

    def begin(self, now: float) -> None:
        """Take note that messages are parked after a time without any: unused starts of that time are lost."""

    def free(self, now: float) -> int:
        """Return how many tasks may start now."""

    def take(self, count: int, now: float) -> None:
        """Take note that ``count`` tasks start now."""

    def give_back(self, count: int, now: float) -> None:
        """Take note that ``count`` of the tasks have not started."""

    @property
    def next_free(self) -> float:
        """When to ask next, by the monotonic clock."""


@dataclass(slots=True)
class WorkerBucket:
    """The starts of one task in this worker, ``rate`` a second."""

    rate: float
    next_free: float = 0.0

    def begin(self, now: float) -> None:
        """See ``Bucket``."""
        self.next_free = max(self.next_free, now)

    def free(self, now: float) -> int:
        """See ``Bucket``."""
        if now < self.next_free:
            return 0
        return int((min(now - self.next_free, _SLACK)) * self.rate) + 1

    def take(self, count: int, now: float) -> None:
        """See ``Bucket``."""
        self.next_free = max(self.next_free, now - _SLACK) + count / self.rate

    def give_back(self, count: int, now: float) -> None:
        """See ``Bucket``."""
        self.next_free -= count / self.rate


@dataclass(slots=True)
class ClusterBucket:
    """The starts of one task that this worker takes from the limit of all workers.

    ``refill(late)`` takes some more, among them unused starts of the last ``late`` seconds.
    """

    refill: Callable[[float], Starts]
    _left: int = 0
    #: The seconds between two starts, and when the next one that was taken is free; if none is left, when to ask again.
    _apart: float = 0.0
    next_free: float = 0.0
    _late: float = 0.0

    def begin(self, now: float) -> None:
        """See ``Bucket``."""
        self._late = 0.0
        if self._left and now > self.next_free:
            passed = self._left if not self._apart else min(self._left, int((now - self.next_free) / self._apart) + 1)
            self._left -= passed
            self.next_free = self.next_free + passed * self._apart if self._left else now

    def free(self, now: float) -> int:
        """See ``Bucket``. Asks the database if nothing is left."""
        if now < self.next_free:
            return 0
        if not self._left:
            starts = self.refill(self._late)
            self._left, self._apart = starts.count, 1 / starts.rate if starts.rate else 0.0
            self.next_free = now + starts.wait
            if not self._left or starts.wait > 0:
                return 0
        return min(self._left, int((now - self.next_free) / self._apart) + 1) if self._apart else self._left

    def take(self, count: int, now: float) -> None:
        """See ``Bucket``."""
        self._left -= count
        self.next_free = self.next_free + count * self._apart if self._left > 0 else now
        self._late = _SLACK

    def give_back(self, count: int, now: float) -> None:
        """See ``Bucket``."""
        self.next_free = self.next_free - count * self._apart if self._left else min(self.next_free, now)
        self._left += count

    def renew(self) -> None:
        """Give up what is left and ask again: the limit has changed."""
        self._left, self.next_free = 0, 0.0


class RateLimits:
    """The parkings that may hold messages, and the buckets of their tasks, by name."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}
        #: The parkings in which messages were, when they were last looked at, and when they may be claimed from again.
        self._occupied: dict[str, float] = {}

    @property
    def exist(self) -> bool:
        """Whether a task has a limit here."""
        return bool(self._buckets)

    def set(self, task: str, rate: float | None) -> None:
        """Have a task start ``rate`` times a second, or without a limit."""
        if rate is None:
            self._buckets.pop(task, None)
        else:
            self._buckets[task] = WorkerBucket(rate, time.monotonic())
        self._occupied.update({name: 0.0 for name in self._occupied if parked_task(name) == task})

    def share(self, task: str, refill: Callable[[float], Starts]) -> None:
        """Have a task start at the limit of all workers."""
        self._buckets[task] = ClusterBucket(refill)

    def renew(self, task: str) -> bool:
        """Take note that the limit of all workers has changed for ``task``; return false if it has none here."""
        bucket = self._buckets.get(task)
        if not isinstance(bucket, ClusterBucket):
            return False
        bucket.renew()
        return True

    def has(self, task: str) -> bool:
        """Tell whether a task has a limit here."""
        return task in self._buckets

    def names(self, queue: str) -> list[str]:
        """Return the parkings of ``queue`` for all tasks with a limit."""
        return [name for task in self._buckets if (name := parking(queue, task))]

    def note_parked(self, parkings: Iterable[str]) -> None:
        """Take note that messages are parked."""
        now = time.monotonic()
        for name in parkings:
            if name in self._occupied:
                self._occupied[name] = min(self._occupied[name], now + _APART)
            else:
                if (bucket := self._buckets.get(parked_task(name))) is not None and self._is_idle(parked_task(name)):
                    bucket.begin(now)
                self._occupied[name] = 0.0

    def _is_idle(self, task: str) -> bool:
        return all(parked_task(name) != task for name in self._occupied)

    def ready(self) -> list[str]:
        """Return the parkings from which messages may be claimed now, those that waited longest first."""
        now = time.monotonic()
        ready = [name for name, since in self._occupied.items() if now >= since and self.free(name)]
        return sorted(ready, key=self._occupied.__getitem__)

    def free(self, name: str) -> int:
        """Return how many messages may be claimed from a parking; without a limit ``10_000``."""
        bucket = self._buckets.get(parked_task(name))
        return 10_000 if bucket is None else bucket.free(time.monotonic())

    def note_claimed(self, name: str, count: int, *, again: float | None) -> None:
        """Take note that messages of a parking start, and when to claim from it again; ``None`` if it is empty now."""
        now = time.monotonic()
        if count and (bucket := self._buckets.get(parked_task(name))) is not None:
            bucket.take(count, now)
        if again is None:
            self._occupied.pop(name, None)
        else:
            self._occupied[name] = max(again, now + _APART)

    def give_back(self, task: str, count: int) -> None:
        """Take note that so many of the messages that were claimed have not started."""
        if (bucket := self._buckets.get(task)) is not None:
            bucket.give_back(count, time.monotonic())

    def forget(self, queue: str) -> None:
        """Claim no more from the parkings of ``queue``."""
        self._occupied = {name: since for name, since in self._occupied.items() if home(name) != queue}

    @property
    def next_free(self) -> float:
        """When the next parked message may be claimed, by the monotonic clock."""
        return min((max(since, self._next_of(name)) for name, since in self._occupied.items()), default=math.inf)

    def _next_of(self, name: str) -> float:
        bucket = self._buckets.get(parked_task(name))
        return 0.0 if bucket is None else bucket.next_free
