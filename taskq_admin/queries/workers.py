"""Workers: their rows, their ``info``, and the messages that one of them holds.

``info`` is JSON that the worker wrote about itself; a worker of another version may
write other things, so everything in it is optional here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import QuerySet, Subquery
from django.db.models.functions import Left

from taskq import timezones
from taskq.conf import settings
from taskq.messages.parking import home
from taskq.models import CLAIM_ORDER, Lease, Message, TaskRun, Worker

from . import activity, durations, payloads

#: Messages of one worker that its page shows at most.
MANY = 100


@dataclass(frozen=True, slots=True)
class Info:
    """The ``info`` of a worker. Its ``host`` is a name; the row's ``host`` only tells hosts apart."""

    host: str = ""
    queues: tuple[str, ...] = ()
    concurrency: str = ""
    pool: str = ""
    version: str = ""
    activity: activity.Activity = field(default_factory=activity.Activity)
    text: payloads.Payload | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A message that a worker holds. ``run_pk`` and ``state`` are from its task's row, if it has one."""

    task_id: str
    name: str
    queue: str
    created_at: datetime
    run_pk: int | None = None
    state: str = ""


def listed() -> QuerySet[Worker]:
    """Return all workers, with the start of their ``info`` as ``cut_info``."""
    cut = Left("info", payloads.LIMIT + 1)
    return Worker.objects.using(settings.DATABASE).defer("info").annotate(cut_info=cut)


def with_retention(rows: QuerySet[Worker]) -> QuerySet[Worker]:
    """Return workers that know when old rows were last deleted, for ``attention.of_retention``: a statement less."""
    swept = Lease.objects.filter(name=Lease.RETENTION).values("done_at")[:1]
    return rows.annotate(swept_at=Subquery(swept))


def pk_of(name: str) -> str | None:
    """Return the key of the worker with this name that was started last; ``None`` if there is no row of it."""
    rows = Worker.objects.using(settings.DATABASE).exclude(state=Worker.CONSUMER)
    named = rows.filter(name=name).order_by("-started_at", "token")
    return None if "\0" in name else named.values_list("pk", flat=True).first()


def info(worker: Worker) -> Info:
    """Read ``worker.info``, whatever is in it. That of a worker from ``listed`` is cut."""
    written: str = worker.cut_info if hasattr(worker, "cut_info") else worker.info
    try:
        said = json.loads(written)
    except (TypeError, ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return Info(text=payloads.Space().fit(payloads.payload(written)))
    return Info(
        host=_word(said.get("host")),
        queues=_names(said.get("queues")),
        concurrency=_word(said.get("concurrency")),
        pool=_word(said.get("pool")),
        version=_word(said.get("version")),
        activity=activity.read(said),
        text=_rest(said, written),
    )


def _rest(said: dict[str, Any], written: str) -> payloads.Payload | None:
    """Return the ``info`` as text, without the parts that have a place of their own: they name tasks."""
    rest = {name: value for name, value in said.items() if name not in activity.KEYS}
    if not rest:
        return None
    if len(rest) < len(said):
        try:
            written = json.dumps(rest)
        except RecursionError:
            return None
    return payloads.Space().fit(payloads.payload(written))


def _names(value: Any) -> tuple[str, ...]:
    """Return queue names from a list of names, of objects with a name, or from an object keyed by name."""
    items = list(value) if isinstance(value, list | dict) else [value] if isinstance(value, str) else []
    return tuple(_word(item.get("name") if isinstance(item, dict) else item) for item in items)


def _word(value: Any) -> str:
    return "" if value is None else str(value).encode("utf-8", "backslashreplace").decode()


def silence(worker: Worker, now: datetime) -> float | None:
    """Return the seconds since the worker's last heartbeat; a clock ahead of ours reads as none."""
    seconds = durations.between(worker.seen_at, now)
    return None if seconds is None else max(seconds, 0.0)


def is_silent(worker: Worker, now: datetime) -> bool:
    """Tell whether nothing was heard of the worker for longer than its lease (a display, not a verdict)."""
    seconds = silence(worker, now)
    return seconds is not None and seconds > worker.lease


def is_away(worker: Worker, now: datetime) -> bool:
    """Tell whether the worker is silent, or was lost: a peer has taken over its messages."""
    return worker.state == Worker.LOST or is_silent(worker, now)


def read_queues(rows: Iterable[Worker] | None = None) -> set[str]:
    """Return the queues from which living workers, and consuming connections of kombu, take.

    ``rows`` are all workers, if they are known already.
    """
    now = timezones.now()
    alive = [worker for worker in (listed() if rows is None else rows) if not is_away(worker, now)]
    return {name for worker in alive for name in info(worker).queues}


def uptime(worker: Worker, now: datetime) -> float | None:
    """Return for how many seconds a worker has run, or had run when it was last heard of."""
    return durations.between(worker.started_at, worker.seen_at if is_away(worker, now) else now)


def living() -> list[Worker]:
    """Return the workers that are neither silent nor lost, by name."""
    now = timezones.now()
    rows = listed().exclude(state=Worker.CONSUMER).order_by("name")
    return [worker for worker in rows if not is_away(worker, now)]


def holders(task_id: str) -> list[str]:
    """Return the names of the workers that hold a message of the task: one at most, unless it was sent twice."""
    held = Message.objects.using(settings.DATABASE).filter(task_id=task_id, token__gt="").values("token")
    return list(Worker.objects.using(settings.DATABASE).filter(token__in=held).values_list("name", flat=True)[:MANY])


def readers(queue: str, rows: Iterable[Worker]) -> list[Worker]:
    """Return the living workers that take from a queue."""
    now = timezones.now()
    return [worker for worker in rows if not is_away(worker, now) and queue in info(worker).queues]


def held(token: str, doing: activity.Activity) -> tuple[list[Held], activity.Activity]:
    """Return the first ``MANY`` messages that the worker with this boot token holds, and its activity with runs."""
    rows = Message.objects.using(settings.DATABASE).filter(token=token) if token else Message.objects.none()
    fields = ("task_id", "name", "queue", "created_at")
    found = list(rows.order_by("queue", *CLAIM_ORDER).values_list(*fields)[:MANY])
    runs = _runs({*(row[0] for row in found if row[0]), *(slot.task_id for slot in doing.slots if slot.task_id)})
    messages = [
        Held(task_id, name, home(queue), created, *runs.get(task_id, (None, "")))
        for task_id, name, queue, created in found
    ]
    return messages, doing.with_runs(runs)


def _runs(task_ids: set[str]) -> dict[str, tuple[int, str]]:
    if not task_ids:
        return {}
    rows = TaskRun.objects.using(settings.DATABASE).filter(task_id__in=task_ids)
    return {task_id: (pk, state) for task_id, pk, state in rows.values_list("task_id", "pk", "state")}


def data(worker: Worker, said: Info, state: str, *, names: bool) -> dict[str, Any]:
    """Return a worker as plain values; ``names`` and ids of the tasks that it runs only for those who may see tasks."""
    doing = said.activity
    return {
        "name": worker.name,
        "token": worker.token,
        "state": state,
        "host": said.host or worker.host,
        "pid": worker.pid,
        "started": worker.started_at.isoformat(),
        "seen": worker.seen_at.isoformat(),
        "queues": list(said.queues),
        "concurrency": said.concurrency,
        "pool": said.pool,
        "version": said.version,
        "memory": doing.memory,
        "load": list(doing.load),
        "processed": dict(doing.processed),
        "events": doing.events,
        "slots": [_slot_data(slot, names=names) for slot in doing.slots],
        "more_slots": doing.folded,
    }


def _slot_data(slot: activity.Slot, *, names: bool) -> dict[str, Any]:
    task = {"task_id": slot.task_id, "task": slot.name} if names else {}
    since = slot.since and slot.since.isoformat()
    return {"slot": slot.number, "pid": slot.pid, "busy": bool(slot.task_id), "since": since, **task}
