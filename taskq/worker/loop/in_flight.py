"""The requests that were handed over and have not ended, by slot, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .request import Request


@dataclass(slots=True)
class SlotLoad:
    """The requests of one slot. ``seconds`` is how long they are expected to take."""

    requests: dict[int, Request] = field(default_factory=dict)
    seconds: float = 0.0
    #: Reserved for one request that runs alone; no other is handed to the slot.
    reserved: bool = False

    @property
    def head(self) -> Request | None:
        """The request that runs, as far as is known."""
        return next(iter(self.requests.values()), None)


class InFlight:
    """The loads of all slots, and the slot of each job."""

    def __init__(self) -> None:
        self._by_slot: dict[int, SlotLoad] = {}
        self._where: dict[int, SlotLoad] = {}

    def of(self, slot: int) -> SlotLoad:
        """Return the load of the slot with this index."""
        load = self._by_slot.get(slot)
        if load is None:
            load = self._by_slot[slot] = SlotLoad()
        return load

    def loads(self) -> list[tuple[int, SlotLoad]]:
        """Return the indexes of the slots with their loads; any thread may ask."""
        return list(self._by_slot.items())

    def put(self, slot: int, requests: Iterable[Request]) -> None:
        """Add requests that are handed to a slot."""
        load = self.of(slot)
        for request in requests:
            load.requests[request.job] = request
            load.seconds += request.cost
            self._where[request.job] = load

    def take(self, job: int) -> Request | None:
        """Remove a job from its slot and return its request, if it was in one."""
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
