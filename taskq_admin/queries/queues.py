"""Queues: how much waits in each, how much workers hold, and for how long the oldest has waited.

No query groups or sorts the backlog, and their number does not grow with the queues.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.db.models import Count

from taskq import control
from taskq.conf import database_broker_alias, settings
from taskq.messages.parking import home
from taskq.models import DUE_ORDER, Message, QueuePause, ScheduledMessage
from taskq.store.backlog import waiting

from . import workers
from .capped import CAP, CappedCount, capped

#: Queues that a page shows at most; each costs some looks into an index.
MANY = 100
#: Queues that the list of tasks asks for: it says only that some of them are not read.
FEW = 20


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """One queue. ``oldest`` is in seconds, ``None`` when nothing waits. ``read``: a living worker takes from it.

    ``pause`` says since when and why nothing is taken from it.
    """

    name: str
    waiting: CappedCount
    claimed: CappedCount
    scheduled: CappedCount
    oldest: float | None
    read: bool = True
    pause: QueuePause | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """All queues that hold something, by name. ``more`` says that there are more than are shown."""

    queues: list[QueueLoad]
    more: bool = False


def overview(declared: tuple[str, ...] = ()) -> Overview:
    """Return the load of every queue that holds messages or is paused, and of those ``declared``."""
    claimed, scheduled = _claimed(), _scheduled()
    rows = waiting(MANY + 1, CAP + 1, declared)
    read = _read()
    pauses = {row.queue: row for row in control.paused_queues()}
    names = sorted({*rows, *claimed, *scheduled, *pauses})
    nothing = CappedCount(0)
    loads = [
        QueueLoad(
            name,
            capped(rows[name].count) if name in rows else nothing,
            claimed.get(name, nothing),
            scheduled.get(name, nothing),
            rows[name].oldest if name in rows else None,
            read is None or name in read,
            pauses.get(name),
        )
        for name in names[:MANY]
    ]
    return Overview(loads, more=len(names) > MANY)


def unread() -> list[str]:
    """Return which of the first ``FEW`` queues with waiting messages no living worker takes from."""
    names = list(waiting(FEW, 1))
    read = _read() if names else None
    return [] if read is None else [name for name in names if name not in read]


def is_read(queue: str) -> bool:
    """Tell whether a living worker takes from a queue, as far as that is known."""
    read = _read()
    return read is None or queue in read


def _read() -> set[str] | None:
    """Return the queues that living workers consume from; ``None`` if messages go through a broker that alone knows."""
    return None if database_broker_alias() is None else workers.read_queues()


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
