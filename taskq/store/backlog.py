"""The backlog: how much waits in each queue, and since when. Only reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from taskq.conf import settings
from taskq.engines import backlog, for_alias
from taskq.engines.look_ups import look_ups
from taskq.messages.parking import BEHIND, PREFIX, home


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one queue, also for a rate limit: ``count`` messages, the ``oldest`` since so many seconds."""

    queue: str
    count: int
    oldest: float | None


def waiting(most_queues: int, cap: int, also: Collection[str] = (), alias: str | None = None) -> dict[str, Waiting]:
    """Return the first ``most_queues`` queues in which messages wait, and those of ``also``, by name.

    Each is counted up to ``cap``. What waits for a rate limit counts for its queue, as far as there are not more than
    ``most_queues`` of its parkings and others.
    """
    engine = for_alias(alias or settings.DATABASE)
    with look_ups(engine):
        names = backlog.names(engine, most_queues, BEHIND)
        names += backlog.names(engine, most_queues, PREFIX, BEHIND)
        loads = backlog.loads(engine, names, cap)
        now = engine.now() if names else 0.0
    found: dict[str, list[tuple[int, float | None]]] = {name: [] for name in also}
    for name in names:
        found.setdefault(home(name), []).append(loads[name])
    return {queue: _sum(queue, parts, cap, now) for queue, parts in sorted(found.items())}


def _sum(queue: str, parts: list[tuple[int, float | None]], cap: int, now: float) -> Waiting:
    since: Iterator[float] = (head for _, head in parts if head is not None)
    oldest = min(since, default=None)
    return Waiting(
        queue, min(cap, sum(count for count, _ in parts)), None if oldest is None else max(0.0, now - oldest)
    )
