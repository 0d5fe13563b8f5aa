"""Promote: scheduled messages that are due move into their queues, in batches."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from django.db.models import Q
from kombu.utils.json import dumps

from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.engines.marks import SCHEDULED_NAME
from taskq.messages.parking import home
from taskq.messages.protocol import mapping_of
from taskq.messages.protocol.wire import UNKNOWN_SINCE
from taskq.models import ScheduledMessage
from taskq.records import DuePlace

from .enqueue import wake

#: How many messages one transaction moves, at most.
BATCH = 200
#: How many messages one look for unknown tasks reads, and how many of them it makes due, at most.
_LOOKED_AT, _HASTENED = 1_000, 100
#: The place of a message in the schedule as the rows have it.
SchedulePlace = tuple[datetime, int]


def promote(limit: int = BATCH, alias: str | None = None, *, after: DuePlace | None = None) -> list[DuePlace]:
    """Move up to ``limit`` due messages into their queues; return the places that they had, the earliest first.

    Several workers may do it at once. With ``after``, an engine with ``keeps_dead_entries`` moves messages behind that
    place only.
    """
    engine = for_alias(alias or settings.DATABASE)
    with engine.atomic():
        places = engine.lock_due(limit, after)
        if places:
            ids = [message_id for _, message_id in places]
            rows = ScheduledMessage.objects.using(engine.alias).filter(id__in=ids)
            queues = set(rows.values_list("queue", flat=True))
            engine.move_due(ids)
            wake(engine, queues)
    return places


def next_due(alias: str | None = None, after: DuePlace | None = None) -> float | None:
    """Return in how many seconds the next scheduled message is due, by the database's clock; ``None`` if none is.

    ``after`` as in ``promote``.
    """
    return for_alias(alias or settings.DATABASE).next_due(after)


def hasten_unknown(
    names: Collection[str],
    queues: Collection[str],
    within: float,
    after: SchedulePlace | None = None,
    alias: str | None = None,
) -> tuple[int, SchedulePlace | None]:
    """Make messages due that workers without their tasks put back. For a worker that has ``names``, reads ``queues``.

    A call looks at a part of the messages that are due ``within`` so many seconds: the first ones, or those behind the
    place ``after``. It returns how many it made due, and the place behind which the next part begins, if there is one.

    Another worker without the task may be the first to take such a message. So the message counts as unknown from now
    on: its delays are short again, and it does not fail while this worker looks.
    """
    engine = for_alias(alias or settings.DATABASE)
    rows = ScheduledMessage.objects.using(engine.alias)
    soon = rows.filter(due_at__lt=datetime.fromtimestamp(engine.now() + within, UTC))
    if after is not None:
        soon = soon.filter(Q(due_at__gt=after[0]) | Q(id__gt=after[1]), due_at__gte=after[0])
    put_back = soon.annotate(put_back=Q(headers__contains=f'"{UNKNOWN_SINCE}"')).order_by("due_at", "id")
    part = list(put_back.values_list("due_at", "id", "queue", "name", "put_back")[:_LOOKED_AT])
    next_part = part[-1][:2] if len(part) == _LOOKED_AT else None
    found = [
        (due_at, message_id)
        for due_at, message_id, queue, name, put_back in part
        if put_back and name in names and home(queue) in queues
    ]
    if len(found) > _HASTENED:
        found = found[:_HASTENED]
        next_part = found[-1]
    if found:
        _hasten(engine, [message_id for _, message_id in found])
    return len(found), next_part


def _hasten(engine: Engine, ids: Collection[int]) -> None:
    """Make messages due, as if they had been unknown since now only. Those that another worker moves are left out."""
    rows = ScheduledMessage.objects.using(engine.alias)
    with engine.atomic():
        locked = rows.select_for_update(skip_locked=engine.skip_locked).filter(id__in=ids).order_by("id")
        messages, now = list(locked.only("id", "headers")), engine.now()
        for message in messages:
            message.headers = dumps(mapping_of(message.headers) | {UNKNOWN_SINCE: now})
        rows.bulk_update(messages, ["headers"])
        rows.filter(id__in=[message.id for message in messages]).update(due_at=engine.now_expression())
        wake(engine, {SCHEDULED_NAME})
