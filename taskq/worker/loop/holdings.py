"""``Holdings``: which requests a worker holds, read by other threads while the loop goes on.

Copies of plain dictionaries: nothing here waits for the loop, and the loop never waits for it. A copy may be a moment
old.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from taskq.worker.pools.base import Pool

from .in_flight import InFlight, SlotLoad
from .request import Request

T = TypeVar("T")

#: How often a copy is tried again that met a change of its dictionary.
_TRIES = 100
#: Seconds for which terminated tasks are remembered; how many at most, and how many characters of their headers.
_LATELY, _MOST_TERMINATED, _MOST_CHARACTERS = 60.0, 500, 1 << 20


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
    #: Requests that the pool was made to end: when, the task's id, and its headers if it has stamps.
    _terminated: deque[tuple[float, str, str]] = field(default_factory=lambda: deque(maxlen=_MOST_TERMINATED))

    def terminated(self, request: Request) -> None:
        """Remember a running request that the pool was made to end.

        Its headers are kept as text: as objects they may take twenty times the memory.
        """
        now, kept = time.monotonic(), self._terminated
        kept.append((now, request.id, request.message.headers if request.headers.raw.get("stamps") else ""))
        while kept and (kept[0][0] < now - _LATELY or sum(len(text) for *_, text in kept) > _MOST_CHARACTERS):
            kept.popleft()

    def lately_terminated(self) -> list[tuple[str, str]]:
        """Return the ids of tasks that the pool was made to end just now, and the headers of those with stamps.

        The database may tell a worker of it before the command comes that asks what has become of them.
        """
        since = time.monotonic() - _LATELY
        return [(task_id, text) for at, task_id, text in _copied(lambda: list(self._terminated)) if at >= since]

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
