"""Promote: scheduled messages that are due move into their queues, in batches."""

from __future__ import annotations

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import ScheduledMessage
from taskq.records import DuePlace

from .enqueue import wake

#: How many messages one transaction moves, at most.
BATCH = 200


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
