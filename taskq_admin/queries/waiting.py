"""Why a task that has not ended does not run, from rows: its message, its queue, workers, and what is before it.

``facts`` looks them up, ``reasons`` is pure. A task whose messages go through another broker has no message here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Left
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from taskq import states
from taskq.conf import database_broker_alias, settings
from taskq.messages.parking import home, parked_task
from taskq.models import CLAIM_ORDER, Message, Node, QueuePause, ScheduledMessage, TaskRun, Worker
from taskq.store.reading import together
from taskq_admin.badges import short

from . import durations, payloads, workers

#: Messages that are counted before one at most.
AHEAD = 1000
#: A worker promotes what is due within a second; the schedule is late after this many.
_LATE = timedelta(seconds=10)
#: The header that workers write which do not know the task.
_UNKNOWN = "x-unknown-since"
#: What a page shows of a message, besides its texts.
_BOTH = (
    "id", "queue", "priority", "deliveries", "created_at", "exchange", "routing_key", "content_type",
    "content_encoding",
)  # fmt: skip
_COLUMNS = (*_BOTH, "token", "revoked", "redelivered", "expires_at")
_SCHEDULED = (*_BOTH, "due_at")


@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence, how bad it is (``wait``, ``warn`` or ``bad``), and the list that shows more: a model's name."""

    text: str
    tone: str = "wait"
    page: str = ""


@dataclass(slots=True)
class Facts:
    """What rows say of a task that waits. ``ahead`` counts the messages before its own, ``AHEAD`` at most."""

    message: Message | None = None
    scheduled: ScheduledMessage | None = None
    node: Node | None = None
    pause: QueuePause | None = None
    workers: Sequence[Worker] = field(default_factory=list)
    ahead: int = 0
    other_broker: bool = False
    #: Whether the row has changed since the page read it: a worker has begun the task, or has ended it, in between.
    has_moved: bool = False
    #: The id of the workflow of the task, empty for none; ``None`` if that was not looked up.
    root_id: str | None = None


def facts(run: TaskRun, now: datetime) -> Facts:
    """Look up why ``run`` waits, in two statements at most; nothing for a task that has ended."""
    found = Facts(other_broker=database_broker_alias() is None)
    if run.state in states.READY_STATES:
        return found
    # With the texts that a page shows, cut: to read them apart is a statement more.
    cut = {f"cut_{column}": Left(column, payloads.LIMIT + 1) for column in ("headers", "properties", "body")}
    same = TaskRun.objects.using(settings.DATABASE).filter(pk=run.pk, state=run.state, started_at=run.started_at)
    messages, later, nodes, pauses, found.workers, still = together(
        _first(Message, run).only(*_COLUMNS).annotate(**cut)[:1],
        _first(ScheduledMessage, run).only(*_SCHEDULED).annotate(**cut)[:1],
        _first(Node, run)[:1],
        QueuePause.objects.using(settings.DATABASE).all(),
        workers.listed(),
        same.only("id"),
    )
    found.has_moved = not still
    found.message = next(iter(messages), None)
    found.scheduled = next(iter(later), None) if found.message is None else None
    if found.message is None and found.scheduled is None:
        found.node = next(iter(nodes), None)
        found.root_id = found.node.root_id if found.node else ""
    elif run.started_at is None or found.scheduled is not None or run.state == states.RETRY:
        queue = home((found.message or found.scheduled or run).queue)
        found.pause = _pause_of(queue, pauses, now)
        if found.message is not None and not found.message.token:
            found.ahead = _ahead(found.message)
    return found


def _pause_of(queue: str, pauses: Iterable[QueuePause], now: datetime) -> QueuePause | None:
    return next((row for row in pauses if row.queue == queue and (row.until is None or row.until > now)), None)


def _first(model: type[Any], run: TaskRun) -> QuerySet[Any]:
    rows: QuerySet[Any] = model.objects.using(settings.DATABASE)
    return rows.filter(task_id=run.task_id).order_by("id")


def _is_unknown(message: Message | ScheduledMessage) -> bool:
    """Tell whether a worker has met the message, and put it back because it does not know its task."""
    try:
        said = json.loads(getattr(message, "cut_headers", ""))
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and _UNKNOWN in said


def _ahead(message: Message) -> int:
    """Count the messages that are claimed before this one, along the index of claims."""
    rows = Message.objects.using(settings.DATABASE).filter(token="", queue=message.queue)
    first = list(rows.order_by(*CLAIM_ORDER).values_list("id", flat=True)[:AHEAD])
    return first.index(message.id) if message.id in first else AHEAD


def reasons(run: TaskRun, found: Facts, now: datetime) -> list[Reason]:
    """Return why a task has not ended, what holds it most first."""
    if run.state in states.READY_STATES:
        return []
    if found.message is not None and found.message.token:
        return _held(run, found.message, found, now)
    if found.message is not None:
        return _in_queue(found.message, found, now)
    if found.scheduled is not None:
        return _in_schedule(run, found.scheduled, found, now)
    if found.node is not None and run.started_at is None and found.node.waits_for:
        return [Reason(_("It waits for %(task)s, after which it is sent.") % {"task": short(found.node.waits_for)})]
    if found.has_moved:
        return []
    if found.other_broker:
        return [] if run.started_at else [Reason(_("Its message is with the broker, which alone knows its place."))]
    return [Reason(_("It has no message (any more), so no worker will run it. A retry sends it again."), "bad")]


def _held(run: TaskRun, message: Message, found: Facts, now: datetime) -> list[Reason]:
    """The message is with a worker: the task runs, or is the next in a process."""
    holder = next((row for row in found.workers if row.token == message.token), None)
    said: list[Reason] = []
    if holder is None or workers.is_away(holder, now):
        text = _("Its worker is gone or silent: another one will take it over.")
        said.append(Reason(text, "bad", "worker"))
    elif run.started_at is None:
        text = _("The worker %(worker)s has it, and starts it as soon as a process is free.")
        said.append(Reason(text % {"worker": short(holder.name)}, page="worker"))
    if message.revoked:
        said.append(Reason(_("Its worker was asked to end it (%(how)s).") % {"how": message.revoked}, "warn"))
    if message.deliveries > 1 or message.redelivered:
        text = _("It was started before, and its process or worker was lost.")
        said.append(Reason(text, "warn"))
    return said


def _in_queue(message: Message, found: Facts, now: datetime) -> list[Reason]:
    said = [*_of_pause(found.pause), *_of_unknown(message)]
    said += _of_readers(home(message.queue), found.workers, now)
    if task := parked_task(message.queue):
        text = _("The rate limit of %(task)s holds it back.")
        said.append(Reason(text % {"task": short(task)}, "warn"))
    if found.ahead >= AHEAD:
        said.append(Reason(_("At least %(count)s are before it in the queue.") % {"count": f"{AHEAD:,}"}, page="queue"))
    elif found.ahead:
        text = ngettext("%(count)s is before it in the queue.", "%(count)s are before it in the queue.", found.ahead)
        said.append(Reason(text % {"count": found.ahead}, page="queue"))
    elif not said:
        said.append(Reason(_("It is the next in its queue: it starts when a worker has room."), page="worker"))
    if message.expires_at is not None and message.expires_at <= now:
        said.append(Reason(_("It has expired: a worker will revoke it instead of running it."), "warn"))
    return said


def _in_schedule(run: TaskRun, message: ScheduledMessage, found: Facts, now: datetime) -> list[Reason]:
    said = [*_of_unknown(message), *_of_pause(found.pause)]
    late = durations.between(message.due_at, now) or 0.0
    if late > _LATE.total_seconds():
        text = _("It has been due for %(time)s, and no worker has moved it to its queue.")
        return [Reason(text % {"time": durations.words(late)}, "bad", "worker"), *said]
    text = _("Its next attempt is due in %(time)s.") if run.state == states.RETRY else _("It is due in %(time)s.")
    return [Reason(text % {"time": durations.words(max(-late, 0.0))}), *said]


def _of_unknown(message: Message | ScheduledMessage) -> list[Reason]:
    if not _is_unknown(message):
        return []
    text = _("A worker has put it back: it does not know the task. Is its app in the INSTALLED_APPS of the workers?")
    return [Reason(text, "bad", "worker")]


def _of_pause(pause: QueuePause | None) -> list[Reason]:
    if pause is None:
        return []
    text = _("Its queue is paused")
    by = _(" by %s") % short(pause.by) if pause.by else ""
    until = _(" until %s") % pause.until.strftime("%Y-%m-%d %H:%M %Z") if pause.until else ""
    return [Reason(f"{text}{by}{until}{f': {short(pause.reason)}' if pause.reason else '.'}", "warn", "queue")]


def _of_readers(queue: str, rows: Sequence[Worker], now: datetime) -> list[Reason]:
    alive = [row for row in rows if not workers.is_away(row, now)]
    if not alive:
        return [Reason(_("No worker runs."), "bad", "worker")]
    if any(queue in workers.info(row).queues for row in alive):
        return []
    text = _("No living worker takes from the queue %(queue)s: start one with -Q %(queue)s.")
    return [Reason(text % {"queue": short(queue)}, "bad", "queue")]
