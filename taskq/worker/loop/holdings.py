"""``Holdings``: which requests a worker holds, read by other threads while the loop goes on.

Copies of plain dictionaries: nothing here waits for the loop, and the loop never waits for it. A copy may be a moment
old.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from taskq.worker.pools.base import Pool

from .in_flight import InFlight, SlotLoad
from .request import Request

T = TypeVar("T")

#: How often a copy is tried again that met a change of its dictionary.
_TRIES = 100
#: Seconds for which revoked tasks are remembered, and how many at most.
_LATELY, _MOST_REVOKED = 5.0, 500


@dataclass(slots=True)
class Running:
    """A request that runs in a slot since a time of the monotonic clock; ``pid`` is its process, if it is known."""

    request: Request
    since: float
    pid: int | None
    slot: int = 0


@dataclass(slots=True)
class Holdings:
    """The requests of a consumer: all by their messages' ids, and those that were handed over."""

    by_message: dict[int, Request]
    in_flight: InFlight
    #: How many tasks of each name have ended here.
    totals: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: Requests that were revoked here: when, the task's id, and the headers.
    _revoked: deque[tuple[float, str, Mapping[str, Any]]] = field(default_factory=lambda: deque(maxlen=_MOST_REVOKED))

    def revoke(self, request: Request, how: str) -> None:
        """Mark a request as one that is to be refused or terminated; ``how`` is as in ``Claimed.revoked``."""
        request.revoked = how
        self._revoked.append((time.monotonic(), request.id, request.headers.raw))

    def lately_revoked(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the ids and headers of tasks that were revoked here just now, and may have ended since.

        The database may tell a worker of it before the command comes that asks what has become of them.
        """
        since = time.monotonic() - _LATELY
        return [(task_id, headers) for at, task_id, headers in _copied(lambda: list(self._revoked)) if at >= since]

    def all(self) -> list[Request]:
        """Return every request that this worker holds."""
        return _copied(lambda: list(self.by_message.values()))

    def ids(self) -> set[int]:
        """Return the ids of the messages that this worker holds."""
        return _copied(lambda: set(self.by_message))

    def running(self, pool: Pool) -> list[Running]:
        """Return the requests that run: the heads of their slots."""
        slots = {slot.index: slot for slot in pool.slots}
        found = []
        for index, load in _copied(self.in_flight.loads):
            if (head := _copied(partial(_head, load))) is not None:
                slot = slots.get(index)
                since = slot.busy_since if slot is not None else None
                pid = slot.pid if slot is not None else None
                found.append(Running(head, max(since or 0.0, head.handed_at), pid, index))
        return found


def _head(load: SlotLoad) -> Request | None:
    return load.head


def _copied(copy: Callable[[], T]) -> T:
    """Return what ``copy`` makes of a dictionary; try again if the loop has changed the dictionary meanwhile."""
    for _ in range(_TRIES):
        try:
            return copy()
        except RuntimeError:
            time.sleep(0)
    return copy()
