"""Queues: how much waits in each, how much workers hold, and for how long the oldest has waited.

No query groups or sorts the backlog: names come from probes of the claim's index,
counts are capped, the oldest is the head of each priority.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, QuerySet

from taskq import timezones
from taskq.conf import database_broker_alias, settings
from taskq.messages.parking import home
from taskq.models import CLAIM_ORDER, DUE_ORDER, Message, ScheduledMessage

from . import durations, workers
from .capped import CAP, CappedCount, capped, capped_count

#: Queues that a page shows at most; each costs a few index probes.
MANY = 100
#: Queues that the list of tasks asks for: it says only that some of them are not read.
FEW = 20
_PRIORITIES = 10


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """One queue. ``oldest`` is in seconds, ``None`` when nothing waits. ``read``: a living worker takes from it."""

    name: str
    waiting: CappedCount
    claimed: CappedCount
    scheduled: CappedCount
    oldest: float | None
    read: bool = True


@dataclass(frozen=True, slots=True)
class Overview:
    """All queues that hold something, by name. ``more`` says that there are more than are shown."""

    queues: list[QueueLoad]
    more: bool = False


def overview(declared: tuple[str, ...] = ()) -> Overview:
    """Return the load of every queue that holds messages and of those ``declared``."""
    now = timezones.now()
    claimed, scheduled = _claimed(), _scheduled()
    rows = _rows(_names())
    names = sorted({*declared, *rows, *claimed, *scheduled})
    read = _read()
    loads = [
        _load(name, rows.get(name, [name]), claimed, scheduled, now, read is None or name in read)
        for name in names[:MANY]
    ]
    return Overview(loads, more=len(names) > MANY)


def unread() -> list[str]:
    """Return which of the first ``FEW`` queues with waiting messages no living worker takes from."""
    names = list(_rows(_names(FEW)))
    read = _read() if names else None
    return [] if read is None else [name for name in names if name not in read]


def _read() -> set[str] | None:
    """Return the queues that living workers consume from; ``None`` if messages go through a broker that alone knows."""
    return None if database_broker_alias() is None else workers.read_queues()


def _rows(names: list[str]) -> dict[str, list[str]]:
    """Return the queues with the names that their rows have: what waits for a rate limit has another one."""
    rows: dict[str, list[str]] = {}
    for name in names:
        rows.setdefault(home(name), []).append(name)
    return rows


def _load(
    name: str,
    rows: list[str],
    claimed: dict[str, CappedCount],
    scheduled: dict[str, CappedCount],
    now: datetime,
    read: bool,
) -> QueueLoad:
    counts = [capped_count(_waiting().filter(queue=row).order_by(*CLAIM_ORDER)) for row in rows]
    waiting = counts[0] if len(counts) == 1 else _sum(counts)
    oldest = min((since for row in rows if (since := _oldest(row)) is not None), default=None) if waiting else None
    nothing = CappedCount(0)
    age = durations.between(oldest, now)
    return QueueLoad(name, waiting, claimed.get(name, nothing), scheduled.get(name, nothing), age, read)


def _sum(counts: Iterable[CappedCount]) -> CappedCount:
    counts = list(counts)
    total = capped(sum(count.value for count in counts))
    return CappedCount(total.value, total.more or any(count.more for count in counts))


def _waiting() -> QuerySet[Message]:
    return Message.objects.using(settings.DATABASE).filter(token="")


def _names(most: int = MANY + 1) -> list[str]:
    """Find the first ``most`` queues with waiting messages: each probe asks the index for the next name."""
    found: list[str] = []
    last = ""
    while len(found) < most:
        rows = _waiting().filter(queue__gt=last).order_by("queue").values_list("queue", flat=True)
        name = rows.first()
        if name is None:
            break
        found.append(name)
        last = name
    return found


def _oldest(queue: str) -> datetime | None:
    """Return when the longest waiting message was written: within a priority the head is the oldest."""
    heads: list[datetime] = []
    rows = _waiting().filter(queue=queue).order_by(*CLAIM_ORDER).values_list("priority", "created_at")
    head = rows.first()
    # Other programs may have written any number of priorities.
    while head is not None and len(heads) < _PRIORITIES:
        priority, created = head
        heads.append(created)
        head = rows.filter(priority__lt=priority).first()
    return min(heads, default=None)


def _claimed() -> dict[str, CappedCount]:
    """Count the messages that workers hold, by queue. Reads these rows only, whatever the backlog is."""
    held = Message.objects.using(settings.DATABASE).filter(token__gt="").order_by()
    found: dict[str, int] = {}
    for row in held.values("queue").annotate(held=Count("pk")):
        found[home(row["queue"])] = found.get(home(row["queue"]), 0) + row["held"]
    return {name: CappedCount(count) for name, count in found.items()}


def _scheduled() -> dict[str, CappedCount]:
    """Count scheduled messages by queue, among the ``CAP`` that are due next: the index is by time, not by queue."""
    rows = ScheduledMessage.objects.using(settings.DATABASE).order_by(*DUE_ORDER).values_list("queue", flat=True)
    queues = list(rows[: CAP + 1])
    more = len(queues) > CAP
    return {name: CappedCount(count, more) for name, count in Counter(queues[:CAP]).items()}
