"""Pauses: queues from which no worker takes tasks until they are resumed, or until a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import QueuePause

from .enqueue import wake

#: Among the names of queues in a notification: pauses have changed.
PAUSES_NAME = "\x1fpauses"


def pause(
    queue: str, *, by: str = "", reason: str = "", seconds: float | None = None, alias: str | None = None
) -> QueuePause:
    """Pause ``queue`` for so many ``seconds``, or until it is resumed; a pause that is there is replaced."""
    engine = for_alias(alias or settings.DATABASE)
    now = datetime.fromtimestamp(engine.now(), UTC)
    until = None if seconds is None else now + timedelta(seconds=seconds)
    row = QueuePause(queue=queue, since=now, until=until, by=by, reason=reason)
    with engine.atomic():
        QueuePause.objects.using(engine.alias).bulk_create(
            [row],
            update_conflicts=True,
            unique_fields=["queue"] if engine.connection.features.supports_update_conflicts_with_target else None,
            update_fields=["since", "until", "by", "reason"],
        )
        wake(engine, {PAUSES_NAME})
    return row


def resume(queue: str, alias: str | None = None) -> bool:
    """End the pause of ``queue``; tell whether it was paused."""
    engine = for_alias(alias or settings.DATABASE)
    with engine.atomic():
        paused = [row for row in present(engine.alias) if row.queue == queue]
        QueuePause.objects.using(engine.alias).filter(queue=queue).delete()
        wake(engine, {PAUSES_NAME})
    return bool(paused)


def present(alias: str | None = None) -> list[QueuePause]:
    """Return the pauses that hold now, by queue."""
    alias = alias or settings.DATABASE
    found = list(QueuePause.objects.using(alias).order_by("queue"))
    # Few rows, and most often none: the clock is asked only if one has an end.
    if all(row.until is None for row in found):
        return found
    now = datetime.fromtimestamp(for_alias(alias).now(), UTC)
    return [row for row in found if row.until is None or row.until > now]
