"""Promote: scheduled messages that are due move into their queues, in batches."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from kombu.utils.json import dumps

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.engines.base import SCHEDULED_NAME
from taskq.messages.protocol import mapping_of
from taskq.messages.protocol.wire import UNKNOWN_SINCE
from taskq.models import ScheduledMessage
from taskq.records import DuePlace

from .enqueue import wake

#: How many messages one transaction moves, at most.
BATCH = 200
#: How many messages one statement makes due.
_HASTENED = 500


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


def hasten_unknown(names: Collection[str], within: float, alias: str | None = None) -> int:
    """Make messages due that workers without their tasks put back; return how many. For a worker that has ``names``.

    Looked for among those that are due ``within`` so many seconds, in the order of an index. A worker without the task
    may still be the first to take such a message. So the time for which it was unknown begins anew: the delays until
    it comes back are short again, and it is not failed while a worker is there that knows its task.
    """
    engine = for_alias(alias or settings.DATABASE)
    rows = ScheduledMessage.objects.using(engine.alias)
    soon = rows.filter(due_at__lt=datetime.fromtimestamp(engine.now() + within, UTC))
    unknown = soon.filter(headers__contains=f'"{UNKNOWN_SINCE}"').values_list("id", "name")
    ids = sorted(message_id for message_id, name in unknown if name in names)
    for first in range(0, len(ids), _HASTENED):
        with engine.atomic():
            found = list(rows.filter(id__in=ids[first : first + _HASTENED]).only("id", "headers").order_by("id"))
            for message in found:
                message.headers = dumps(mapping_of(message.headers) | {UNKNOWN_SINCE: engine.now()})
                message.due_at = engine.present()
            rows.bulk_update(found, ["headers", "due_at"])
            wake(engine, {SCHEDULED_NAME})
    return len(ids)
