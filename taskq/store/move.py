"""Move: waiting and scheduled messages go to another queue, or get another priority, and the rows of their tasks too.

A message that a worker holds stays as it is. With ``TASKQ_SIGNING`` a changed message is sealed anew, and one whose
seal is not valid is left alone. Called by ``taskq.control``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from taskq import states
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.engines.marks import SCHEDULED_NAME
from taskq.messages.protocol import mapping_of, seal
from taskq.messages.protocol.options import is_storable
from taskq.messages.serializers import to_json
from taskq.models import Message, ScheduledMessage, TaskRun
from taskq.models.fields import OrderedId
from taskq.records import Envelope

from .authenticity import authentic
from .enqueue import wake
from .texts import whole, without_texts
from .transactions import repeated

Row = Message | ScheduledMessage
#: The columns of a message that may change.
_COLUMNS = ("queue", "exchange", "routing_key", "priority", "headers", "properties")


def move(task_ids: Sequence[str], queue: str, alias: str | None = None) -> tuple[set[str], set[str]]:
    """Move messages to the end of ``queue``; return the ids of the tasks, and of those that a worker holds already."""

    def change(envelope: Envelope) -> None:
        envelope.queue = envelope.routing_key = queue
        envelope.exchange = ""

    # As sent to that queue by the default exchange: a retry goes there too.
    columns = {"queue": queue, "exchange": "", "routing_key": queue}
    return _changed(task_ids, change, columns=columns, run={"queue": queue}, wake_up={queue}, alias=alias)


def prioritize(task_ids: Sequence[str], priority: int, alias: str | None = None) -> tuple[set[str], set[str]]:
    """Give messages another priority, 0 to 9; return the ids of the tasks, and of those that a worker holds already."""

    def change(envelope: Envelope) -> None:
        envelope.priority = envelope.properties["priority"] = priority

    return _changed(task_ids, change, run={"priority": priority}, alias=alias)


def _changed(
    task_ids: Sequence[str],
    change: Callable[[Envelope], None],
    *,
    run: dict[str, Any],
    alias: str | None,
    columns: dict[str, Any] | None = None,
    wake_up: Collection[str] = (),
) -> tuple[set[str], set[str]]:
    """Change the messages of tasks, and the columns ``run`` of their TaskRuns, in one transaction.

    If ``change`` changes nothing but ``columns`` of a message, one statement does it where no seal is needed. The
    workers of the queues ``wake_up`` are told.
    """
    engine = for_alias(alias or settings.DATABASE)
    ids = sorted({task_id for task_id in task_ids if is_storable(task_id)})

    def write() -> tuple[set[str], set[str]]:
        done: set[str] = set()
        with engine.atomic():
            for model in (Message, ScheduledMessage):
                rows = _locked(engine, model, ids)
                if columns is not None and not settings.SIGNING:
                    rows.update(**columns)
                    done.update(rows.values_list("task_id", flat=True))
                else:
                    done.update(_one_by_one(rows, change))
            runs = TaskRun.objects.using(engine.alias).filter(task_id__in=done)
            runs.exclude(state__in=states.READY_STATES).update(**run)
            if done and wake_up:
                wake(engine, {*wake_up, SCHEDULED_NAME})
        return done, _held(engine, ids)

    return repeated(engine, write)


def _locked(engine: Engine, model: type[Row], task_ids: Sequence[str]) -> Any:
    """Return the messages that wait, locked. One that a worker takes just now is passed over: it is held."""
    all_rows: Any = model._base_manager.using(engine.alias)
    rows = all_rows.filter(task_id__in=task_ids)
    if model is Message:
        rows = rows.filter(token="")
    locked = rows.select_for_update(skip_locked=engine.skip_locked).order_by(OrderedId())
    found = all_rows.filter(id__in=list(locked.values_list("id", flat=True)))
    return found.filter(token__unindexed="") if model is Message else found


def _held(engine: Engine, task_ids: Sequence[str]) -> set[str]:
    rows = Message.objects.using(engine.alias).filter(task_id__in=task_ids).exclude(token="")
    return set(rows.values_list("task_id", flat=True))


def _one_by_one(rows: Any, change: Callable[[Envelope], None]) -> list[str]:
    """Change messages whose seals are valid, and seal them anew; return the ids of their tasks."""
    found: list[Row] = [full for row in authentic(without_texts(rows)) if (full := whole(row)) is not None]
    for row in found:
        envelope = _envelope(row)
        change(envelope)
        seal([envelope])
        row.queue, row.exchange, row.routing_key = envelope.queue, envelope.exchange, envelope.routing_key
        row.priority, row.headers = envelope.priority, to_json(envelope.headers)
        row.properties = to_json(envelope.properties)
    for row in found:
        rows.filter(id=row.id).update(**{name: getattr(row, name) for name in _COLUMNS})
    return [row.task_id for row in found]


def _envelope(row: Row) -> Envelope:
    return Envelope(
        row.task_id,
        row.name,
        row.queue,
        dict(mapping_of(row.headers)),
        row.body,
        row.content_type,
        row.content_encoding,
        row.exchange,
        row.routing_key,
        row.priority,
        properties=dict(mapping_of(row.properties)),
        tracked=row.tracked,
    )
