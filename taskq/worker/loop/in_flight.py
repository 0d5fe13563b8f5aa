"""What the pool has in hand: which request is in which slot, in the order in which it was handed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .prefetch import Pace
from .request import Request


@dataclass(slots=True)
class Load:
    """The requests of one slot. ``seconds`` is how long they are reckoned to take."""

    requests: dict[int, Request] = field(default_factory=dict)
    seconds: float = 0.0
    #: Kept for one request that runs alone; nothing else is handed to the slot.
    reserved: bool = False

    @property
    def head(self) -> Request | None:
        """The request that runs, as far as is known."""
        return next(iter(self.requests.values()), None)


class Loads:
    """All slots' loads, and which job is where."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._by_slot: dict[int, Load] = {}
        self._where: dict[int, Load] = {}

    def of(self, slot: int) -> Load:
        """Return the load of the slot with this index."""
        load = self._by_slot.get(slot)
        if load is None:
            load = self._by_slot[slot] = Load()
        return load

    def put(self, slot: int, request: Request) -> None:
        """Note that a request is handed to a slot."""
        load = self.of(slot)
        request.cost = self._pace.cost(request.name)
        load.requests[request.job] = request
        load.seconds += request.cost
        self._where[request.job] = load

    def take(self, job: int) -> Request | None:
        """Note that a job is not in its slot any more; return its request."""
        load = self._where.pop(job, None)
        if load is None:
            return None
        request = load.requests.pop(job)
        load.seconds = load.seconds - request.cost if load.requests else 0.0
        if request.alone:
            load.reserved = False
        return request

    def get(self, job: int) -> Request | None:
        """Return the request of a job that is in a slot."""
        load = self._where.get(job)
        return load.requests[job] if load else None

    def __contains__(self, job: int) -> bool:
        return job in self._where

    def __iter__(self) -> Iterator[Request]:
        return (request for load in self._by_slot.values() for request in load.requests.values())

    def __len__(self) -> int:
        return len(self._where)
