"""The backlog: how much waits in each queue, and since when. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from taskq.conf import settings
from taskq.engines import backlog, for_alias
from taskq.messages.parking import PREFIX, RANGE_END, home

#: Parkings that are looked at for one queue.
_PARKINGS = 100


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many messages wait in one queue, also for a rate limit, and since how many seconds the ``oldest`` does."""

    queue: str
    count: int
    oldest: float | None


def waiting(most_queues: int, cap: int, also: Collection[str] = (), alias: str | None = None) -> dict[str, Waiting]:
    """Return the first ``most_queues`` queues in which messages wait, and those of ``also``, by name.

    Each is counted up to ``cap``. Messages that wait for a rate limit count for their queue, if their parking is among
    the first ``most_queues`` parkings.
    """
    return counted(most_queues, lambda queues: cap, also, alias)[0]


def counted(
    most_queues: int, cap_for: Callable[[int], int], also: Collection[str] = (), alias: str | None = None
) -> tuple[dict[str, Waiting], int]:
    """Do ``waiting`` with a cap that depends on how many queues and parkings are counted; return that cap too."""
    engine = for_alias(alias or settings.DATABASE)
    # Parkings apart, so that many of them hide no queue.
    names = backlog.names(engine, most_queues, [(RANGE_END, None), (PREFIX, RANGE_END)])
    cap = cap_for(len(names))
    loads = backlog.loads(engine, names, cap)
    found: dict[str, list[tuple[int, float | None]]] = {name: [] for name in also}
    for name in names:
        found.setdefault(home(name), []).append(loads[name])
    return {queue: _sum(queue, parts, cap) for queue, parts in sorted(found.items())}, cap


def waiting_in(queue: str, cap: int, alias: str | None = None) -> Waiting:
    """Do ``waiting`` for one queue, whether it is among the first or not."""
    engine = for_alias(alias or settings.DATABASE)
    parked = [name for name in backlog.names(engine, _PARKINGS, [(PREFIX, RANGE_END)]) if home(name) == queue]
    loads = backlog.loads(engine, [queue, *parked], cap)
    return _sum(queue, list(loads.values()), cap)


def _sum(queue: str, parts: list[tuple[int, float | None]], cap: int) -> Waiting:
    ages: Iterator[float] = (age for _, age in parts if age is not None)
    return Waiting(queue, min(cap, sum(count for count, _ in parts)), max(ages, default=None))
