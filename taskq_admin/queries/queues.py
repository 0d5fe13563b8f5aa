"""Queues: how much waits in each, how much workers hold, for how long the oldest has waited, and how fast it goes.

No query groups or sorts the backlog, and their number does not grow with the queues.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet

from taskq import timezones
from taskq.conf import database_broker_alias, settings
from taskq.messages.parking import home
from taskq.messages.protocol.wire import UNKNOWN_SINCE
from taskq.models import DUE_ORDER, Message, QueuePause, ScheduledMessage, Worker
from taskq.store.backlog import counted, waiting, waiting_in
from taskq.store.reading import together

from . import sent, throughput, workers
from .capped import CAP, CappedCount, capped

#: Queues that a page shows at most; each costs some looks into an index.
MANY = 100
#: Queues that the list of tasks asks for: it says only that some of them are not read.
FEW = 20
#: Waiting messages that are counted of all queues together; of each of many queues at least so many: of ``MANY``, and
#: of as many in which messages wait for a rate limit.
TOGETHER, LEAST = 20_000, 100
#: Messages of the schedule that are looked at, those that are due next.
SCHEDULED = 1_000


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """One queue. ``oldest`` is in seconds, ``None`` when nothing waits. ``read``: a living worker takes from it.

    ``pause`` says since when and why nothing is taken from it. ``minutes`` has how many tasks ended in each minute of
    the last hour; ``rate_in`` and ``rate_out`` are tasks a minute, ``None`` if they are not known.
    """

    name: str
    waiting: CappedCount
    claimed: CappedCount
    scheduled: CappedCount
    oldest: float | None
    read: bool = True
    pause: QueuePause | None = None
    minutes: list[int] = field(default_factory=list)
    rate_in: float | None = None
    rate_out: float | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is due later: counts by queue, when the first is due, and names of tasks that a worker did not know."""

    by_queue: dict[str, CappedCount] = field(default_factory=dict)
    first_due: datetime | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """All queues that hold something, by name. ``more`` says that there are more than are shown.

    ``spans`` has what ended in the spans that were asked for.
    """

    queues: list[QueueLoad]
    more: bool = False
    schedule: Schedule = field(default_factory=Schedule)
    spans: dict[str, list[throughput.Period]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Around:
    """What there is besides the messages that wait: messages that workers hold, the schedule, pauses, and workers.

    ``rates`` are the tasks a minute that are sent to each queue, ``None`` if that is not known.
    """

    claimed: dict[str, CappedCount]
    schedule: Schedule
    rates: dict[str, float] | None
    pauses: dict[str, QueuePause]
    workers: list[Worker]


def around() -> Around:
    """Read it, in one statement. The workers are by name, and know when old rows were last deleted."""
    pauses = QueuePause.objects.using(settings.DATABASE)
    held, due, newest, paused, rows = together(
        _held(), _due(), sent.newest(), pauses.all(), workers.with_retention(workers.listed())
    )
    now = timezones.now()
    return Around(
        _counted(held),
        _schedule(due),
        sent.rates(newest),
        {row.queue: row for row in paused if row.until is None or row.until > now},
        sorted(rows, key=lambda row: (row.name, row.token)),
    )


def overview(
    declared: Collection[str] = (), known: Around | None = None, spans: Collection[throughput.Span] = ()
) -> Overview:
    """Return the load of every queue that holds messages or is paused, and of those ``declared``.

    ``known`` is what ``around`` returns, if it is known already. ``spans`` are read with the queues.
    """
    known = around() if known is None else known
    claimed, schedule, rates, pauses = known.claimed, known.schedule, known.rates, known.pauses
    found, most = counted(MANY + 1, lambda queues: 1 + _most(queues), declared)
    read = _read(known.workers)
    names = sorted({*found, *claimed, *schedule.by_queue, *pauses})
    ended = throughput.read(spans, names[:MANY])
    minutes = ended.minutes
    nothing = CappedCount(0)
    loads = [
        QueueLoad(
            name,
            capped(found[name].count, most - 1) if name in found else nothing,
            claimed.get(name, nothing),
            schedule.by_queue.get(name, nothing),
            found[name].oldest if name in found else None,
            read is None or name in read,
            pauses.get(name),
            minutes.get(name, []),
            None if rates is None else rates.get(name, 0.0),
            throughput.rate(minutes.get(name, [])) if settings.STATISTICS else None,
        )
        for name in names[:MANY]
    ]
    return Overview(loads, len(names) > MANY, schedule, ended.spans)


def _most(queues: int) -> int:
    """Return to how many the messages of each of so many queues are counted."""
    return max(min(LEAST, CAP), min(CAP, TOGETHER // max(1, queues)))


def of(name: str, known: Around) -> QueueLoad:
    """Return the load of one queue."""
    found, nothing = waiting_in(name, CAP + 1), CappedCount(0)
    read, minutes = _read(known.workers), throughput.read((), [name]).minutes.get(name, [])
    return QueueLoad(
        name,
        capped(found.count),
        known.claimed.get(name, nothing),
        known.schedule.by_queue.get(name, nothing),
        found.oldest,
        read is None or name in read,
        known.pauses.get(name),
        minutes,
        None if known.rates is None else known.rates.get(name, 0.0),
        throughput.rate(minutes) if settings.STATISTICS else None,
    )


def unread() -> list[str]:
    """Return which of the first ``FEW`` queues with waiting messages no living worker takes from."""
    names = list(waiting(FEW, 1))
    read = _read() if names else None
    return [] if read is None else [name for name in names if name not in read]


def is_read(queue: str) -> bool:
    """Tell whether a living worker takes from a queue, as far as that is known."""
    read = _read()
    return read is None or queue in read


def _read(rows: Iterable[Worker] | None = None) -> set[str] | None:
    """Return the queues that living workers consume from; ``None`` if messages go through a broker that alone knows."""
    return None if database_broker_alias() is None else workers.read_queues(rows)


def _held() -> QuerySet[Any, Any]:
    """Count the messages that workers hold, by queue. Reads these rows only, whatever the backlog is."""
    held = Message.objects.using(settings.DATABASE).filter(token__gt="").order_by()
    return held.values_list("queue").annotate(held=Count("pk"))


def _counted(held: Iterable[tuple[str, int]]) -> dict[str, CappedCount]:
    found: Counter[str] = Counter()
    for queue, count in held:
        found[home(queue)] += count
    return {name: CappedCount(count) for name, count in found.items()}


def _due() -> QuerySet[Any, Any]:
    """Return the scheduled messages that are due next: the index is by time, not by queue."""
    rows = ScheduledMessage.objects.using(settings.DATABASE).order_by(*DUE_ORDER)
    came_back = Q(headers__contains=f'"{UNKNOWN_SINCE}"')
    return rows.annotate(came_back=came_back).values_list("queue", "due_at", "name", "came_back")[: SCHEDULED + 1]


def _schedule(due: Iterable[tuple[str, datetime, str, bool]]) -> Schedule:
    found = sorted(due, key=lambda row: row[1])
    more = len(found) > SCHEDULED
    by_queue = Counter(home(row[0]) for row in found[:SCHEDULED])
    return Schedule(
        {name: CappedCount(count, more) for name, count in by_queue.items()},
        found[0][1] if found else None,
        tuple(sorted({name for _, _, name, unknown in found if unknown})),
    )


def data(load: QueueLoad, *, readers: bool) -> dict[str, Any]:
    """Return a queue as plain values; ``readers``: also whether a worker takes from it."""
    return {
        "name": load.name,
        "waiting": load.waiting.value,
        "claimed": load.claimed.value,
        "scheduled": load.scheduled.value,
        "capped": load.waiting.more or load.scheduled.more,
        "oldest": load.oldest,
        "rate_in": load.rate_in,
        "rate_out": load.rate_out,
        "minutes": load.minutes,
        **({"read": load.read} if readers else {}),
        "paused": None if load.pause is None else _pause_data(load.pause),
    }


def _pause_data(pause: QueuePause) -> dict[str, Any]:
    until = pause.until and pause.until.isoformat()
    return {"since": pause.since.isoformat(), "until": until, "by": pause.by, "reason": pause.reason}
