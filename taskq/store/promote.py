"""Promote: scheduled messages that are due move into their queues, in batches."""

from __future__ import annotations

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import ScheduledMessage

from .enqueue import wake

#: How many messages one transaction moves, at most.
BATCH = 200


def promote(limit: int = BATCH, alias: str | None = None) -> int:
    """Move up to ``limit`` due messages into their queues; return how many. Several workers may do it at once."""
    engine = for_alias(alias or settings.DATABASE)
    with engine.atomic():
        ids = engine.pick_due(limit)
        if ids:
            rows = ScheduledMessage.objects.using(engine.alias).filter(id__in=ids)
            queues = set(rows.values_list("queue", flat=True))
            engine.move_due(ids)
            wake(engine, queues)
    return len(ids)


def next_due(alias: str | None = None) -> float | None:
    """Return in how many seconds the next scheduled message is due, by the database's clock; ``None`` if none is."""
    return for_alias(alias or settings.DATABASE).next_due()
