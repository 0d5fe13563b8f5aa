"""Promote: scheduled messages that are due move into their queues, in batches."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from django.db.models import Q
from kombu.utils.json import dumps

from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.engines.base import SCHEDULED_NAME
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


def promote(limit: int = BATCH, alias: str | None = None) -> int:
    """Move up to ``limit`` due messages into their queues; return how many. Several workers may do it at once."""
    return len(promote_after(None, limit, alias))


def promote_after(after: DuePlace | None, limit: int = BATCH, alias: str | None = None) -> list[DuePlace]:
    """Do ``promote`` and return the places of the messages, the earliest first.

    An engine with ``keeps_dead_entries`` moves messages behind the place ``after`` only.
    """
    engine = for_alias(alias or settings.DATABASE)
    with engine.atomic():
        places = engine.pick_due(limit, after)
        if places:
            ids = [message_id for _, message_id in places]
            rows = ScheduledMessage.objects.using(engine.alias).filter(id__in=ids)
            queues = set(rows.values_list("queue", flat=True))
            engine.move_due(ids)
            wake(engine, queues)
    return places


def next_due(alias: str | None = None, after: DuePlace | None = None) -> float | None:
    """Return in how many seconds the next scheduled message is due, by the database's clock; ``None`` if none is.

    ``after`` as in ``promote_after``.
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

    Looks at the next part of those that are due ``within`` so many seconds: from the first on, or behind the place
    ``after``. Returns how many it found, and behind which place the next part begins, if there may be one.

    A worker without the task may still be the first to take such a message. So the time for which it was unknown begins
    anew: the delays until it comes back are short again, and it is not failed while the worker looks.
    """
    engine = for_alias(alias or settings.DATABASE)
    rows = ScheduledMessage.objects.using(engine.alias)
    soon = rows.filter(due_at__lt=datetime.fromtimestamp(engine.now() + within, UTC))
    if after is not None:
        soon = soon.filter(Q(due_at__gt=after[0]) | Q(id__gt=after[1]), due_at__gte=after[0])
    came_back = soon.annotate(came_back=Q(headers__contains=f'"{UNKNOWN_SINCE}"')).order_by("due_at", "id")
    part = list(came_back.values_list("due_at", "id", "queue", "name", "came_back")[:_LOOKED_AT])
    rest = (part[-1][0], part[-1][1]) if len(part) == _LOOKED_AT else None
    found = [each for each in part if each[4] and each[3] in names and home(each[2]) in queues]
    if len(found) > _HASTENED:
        found = found[:_HASTENED]
        rest = (found[-1][0], found[-1][1])
    if found:
        _hasten(engine, [each[1] for each in found])
    return len(found), rest


def _hasten(engine: Engine, ids: Collection[int]) -> None:
    """Make messages due, as if they had been unknown only since now. What another worker moves is passed over."""
    rows = ScheduledMessage.objects.using(engine.alias)
    with engine.atomic():
        locked = rows.select_for_update(skip_locked=engine.skip_locked).filter(id__in=ids).order_by("id")
        messages, now = list(locked.only("id", "headers")), engine.now()
        for message in messages:
            message.headers = dumps(mapping_of(message.headers) | {UNKNOWN_SINCE: now})
        rows.bulk_update(messages, ["headers"])
        rows.filter(id__in=[message.id for message in messages]).update(due_at=engine.present())
        wake(engine, {SCHEDULED_NAME})
