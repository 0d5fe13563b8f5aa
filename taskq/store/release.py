"""Release: messages go back to their queue, uncounted if they never started."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from django.db.models import F

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.engines.base import SCHEDULED_NAME
from taskq.models import Attempt, Message
from taskq.records import Claimed

from .enqueue import wake


def release(token: str, ids: Sequence[int], alias: str | None = None, *, counted: Sequence[int] = ()) -> int:
    """Give back messages that are not to count as started. They keep their place.

    Of those in ``counted`` a start was committed that did not happen, or that is to be
    forgotten. Returns how many messages ``token`` held.
    """
    alias = alias or settings.DATABASE
    engine = for_alias(alias)
    with engine.atomic():
        rows = Message.objects.using(alias).filter(id__in=ids, token=token)
        queues = set(rows.values_list("queue", flat=True))
        rows.filter(id__in=counted).update(deliveries=F("deliveries") - 1)
        count = rows.update(token="", acked=False)
        wake(engine, queues)
    return count


def postpone(token: str, message: Claimed, delay: float, alias: str | None = None) -> bool:
    """Put a message that is not due into the schedule, ``delay`` seconds from now; false if it is not held.

    One that was revoked meanwhile goes back to its queue instead, and is refused.
    """
    engine = for_alias(alias or settings.DATABASE)
    with engine.atomic():
        held = Message.objects.using(engine.alias).select_for_update().filter(id=message.id, token=token)
        if held.values_list("revoked", flat=True).first():
            return release(token, [message.id], alias) > 0
        if not engine.delete_held(token, [message.id]):
            return False
        row = (
            message.queue, message.task_id, "", message.priority, message.headers, message.body, message.content_type,
            message.content_encoding, message.properties, message.exchange, message.routing_key, message.tracked,
            None, message.deliveries, message.redelivered,
        )  # fmt: skip
        engine.insert_scheduled([row], [delay])
        wake(engine, {SCHEDULED_NAME})
    return True


def lose(
    token: str,
    message_id: int,
    *,
    deliveries: int,
    reason: str,
    worker: str,
    started: float | None,
    alias: str | None = None,
) -> bool:
    """Give back a message whose run ended with its process; ``deliveries`` starts are counted now.

    Returns false if ``token`` does not hold it any more.
    """
    alias = alias or settings.DATABASE
    engine = for_alias(alias)
    with engine.atomic():
        rows = Message.objects.using(alias).filter(id=message_id, token=token)
        held = list(rows.values_list("task_id", "queue"))
        if not held:
            return False
        rows.update(token="", redelivered=True, deliveries=deliveries)
        now = datetime.fromtimestamp(engine.now(), UTC)
        Attempt.objects.using(alias).create(
            task_id=held[0][0],
            state="LOST",
            retries=deliveries,
            traceback=reason,
            worker=worker,
            started_at=datetime.fromtimestamp(started, UTC) if started else None,
            finished_at=now,
        )
        wake(engine, {held[0][1]})
    return True
