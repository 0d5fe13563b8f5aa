"""Requeue: a message that its worker will not settle goes back to its queue, or into the schedule.

``requeue`` is for messages that did not run, ``requeue_lost`` for a message whose run died with its process,
``postpone`` for a message that is not due. ``recover.requeue_held`` returns all that a dead worker held.
"""

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


def requeue(
    token: str,
    ids: Sequence[int],
    alias: str | None = None,
    *,
    redelivered: bool = False,
    uncount: Sequence[int] = (),
) -> int:
    """Return messages to their queue, where they keep their place; return how many ``token`` still held.

    ``redelivered`` marks them so: a consumer has seen them. ``uncount`` are the ids whose start was
    counted (``claim.count_start``) and did not happen, or is to be forgotten.
    """
    alias = alias or settings.DATABASE
    engine = for_alias(alias)
    with engine.atomic():
        rows = Message.objects.using(alias).filter(id__in=ids, token=token)
        queues = set(rows.values_list("queue", flat=True))
        rows.filter(id__in=uncount).update(deliveries=F("deliveries") - 1)
        mark = {"redelivered": True} if redelivered else {}
        count = rows.update(token="", acked=False, **mark)
        wake(engine, queues)
    return count


def requeue_lost(
    token: str,
    message_id: int,
    *,
    deliveries: int,
    reason: str,
    worker: str,
    started: float | None,
    alias: str | None = None,
) -> bool:
    """Requeue a message whose run died with its process, and write an Attempt with the state ``LOST``.

    ``deliveries`` is the number of starts, this one included; ``started`` is a Unix time. Returns
    false if ``token`` no longer holds the message.
    """
    alias = alias or settings.DATABASE
    engine = for_alias(alias)
    with engine.atomic():
        rows = Message.objects.using(alias).filter(id=message_id, token=token)
        held = list(rows.values_list("task_id", "queue"))
        if not held:
            return False
        rows.update(token="", redelivered=True, deliveries=deliveries)
        Attempt.objects.using(alias).create(
            task_id=held[0][0],
            state="LOST",
            retries=deliveries,
            traceback=reason,
            worker=worker,
            started_at=datetime.fromtimestamp(started, UTC) if started else None,
            finished_at=datetime.fromtimestamp(engine.now(), UTC),
        )
        wake(engine, {held[0][1]})
    return True


def postpone(token: str, message: Claimed, delay: float, alias: str | None = None) -> bool:
    """Move a message that is not due into the schedule, ``delay`` seconds from now; false if it is not held.

    A message that was revoked meanwhile goes back to its queue instead, and is refused there.
    """
    engine = for_alias(alias or settings.DATABASE)
    with engine.atomic():
        held = Message.objects.using(engine.alias).select_for_update().filter(id=message.id, token=token)
        if held.values_list("revoked", flat=True).first():
            return requeue(token, [message.id], alias) > 0
        if not engine.delete_held(token, [message.id]):
            return False
        row = (
            message.queue, message.task_id, "", message.priority, message.headers, message.body, message.content_type,
            message.content_encoding, message.properties, message.exchange, message.routing_key, message.tracked,
            None, message.expires_in, message.deliveries, message.redelivered,
        )  # fmt: skip
        engine.insert_scheduled([row], [(None, delay)])
        wake(engine, {SCHEDULED_NAME})
    return True
