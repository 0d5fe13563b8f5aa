"""Requeue: a message that its worker will not settle goes back to its queue, or into the schedule.

``requeue`` is for messages that did not run, ``requeue_lost`` for a message whose run died with its process,
``requeue_rejected`` for a message that its task rejected, ``postpone`` for a message that is not due.
``recover.requeue_held`` returns all that a dead worker held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from django.db.models import F

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.engines.marks import SCHEDULED_NAME
from taskq.messages.protocol import mapping_of
from taskq.messages.protocol.options import MOST_WHOLE
from taskq.messages.protocol.wire import DELIVERY_COUNT
from taskq.messages.serializers import to_json
from taskq.models import Attempt, Message
from taskq.records import Claimed

from .authenticity import authentic_ids
from .enqueue import wake
from .progress import forget_starts

#: Seconds that a message waits at most after it was rejected again.
_LONGEST_PAUSE = 60.0


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
        rows = Message.objects.using(alias).filter(id__in=ids, token__unindexed=token)
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
    counted: bool = True,
    alias: str | None = None,
) -> bool:
    """Requeue a message whose run died with its process, and write an Attempt with the state ``LOST``.

    ``deliveries`` is the number of starts, this one included; ``started`` is a Unix time. With ``counted=False`` the
    stop of the worker ended the run: this start is not counted, and the Attempt has the state ``INTERRUPTED``. Returns
    false if ``token`` no longer holds the message.
    """
    alias = alias or settings.DATABASE
    engine = for_alias(alias)
    with engine.atomic():
        rows = Message.objects.using(alias).filter(id=message_id, token__unindexed=token)
        queues = set(rows.values_list("queue", flat=True))
        if not queues:
            return False
        ids = authentic_ids(rows)
        back = {"redelivered": True, "deliveries": deliveries} if counted else {"deliveries": deliveries - 1}
        rows.update(token="", **back)
        Attempt.objects.using(alias).bulk_create(
            Attempt(
                task_id=task_id,
                state="LOST" if counted else "INTERRUPTED",
                retries=deliveries,
                traceback=reason,
                worker=worker,
                started_at=datetime.fromtimestamp(started, UTC) if started else None,
                finished_at=datetime.fromtimestamp(engine.now(), UTC),
            )
            for task_id in ids
        )
        forget_starts(ids, alias)
        wake(engine, queues)
    return True


def postpone(token: str, message: Claimed, delay: float, alias: str | None = None) -> bool:
    """Move a message that is not due into the schedule, ``delay`` seconds from now; false if it is not held.

    A message that was revoked meanwhile goes back to its queue instead, and is refused there.
    """
    return _sent_again(token, message, delay, alias)


def requeue_rejected(token: str, message: Claimed, alias: str | None = None) -> bool:
    """Put a message that its task rejected behind the waiting messages, as redelivered; false if it is not held.

    From the second rejection on it waits before, each time twice as long. The start that ended so is not counted.
    """
    headers = mapping_of(message.headers)
    before = headers.get(DELIVERY_COUNT)
    count = before + 1 if type(before) is int and 0 <= before <= MOST_WHOLE else 1
    again = replace(message, headers=to_json(headers | {DELIVERY_COUNT: count}), redelivered=True)
    return _sent_again(token, again, 0.0 if count == 1 else min(2.0 ** (min(count, 30) - 2), _LONGEST_PAUSE), alias)


def _sent_again(token: str, message: Claimed, delay: float, alias: str | None) -> bool:
    """Replace the row of a held message by a new one, which is due in ``delay`` seconds."""
    engine = for_alias(alias or settings.DATABASE)
    with engine.atomic():
        rows = Message.objects.using(engine.alias).select_for_update().filter(id=message.id, token__unindexed=token)
        held = rows.values_list("name", "revoked", *(["body"] if message.in_row else [])).first()
        if held is None:
            return False
        name, revoked, *stored = held
        if revoked:
            return requeue(token, [message.id], alias) > 0
        engine.delete_held(token, [message.id])
        body = stored[0] if stored else message.body
        row = (
            message.queue, message.task_id, name, message.priority, message.headers, body, message.content_type,
            message.content_encoding, message.properties, message.exchange, message.routing_key, message.tracked,
            None, message.expires_in, message.deliveries, message.redelivered,
        )  # fmt: skip
        if delay > 0:
            engine.insert_scheduled([row], [(None, delay)])
        else:
            engine.insert_messages([row])
        wake(engine, {SCHEDULED_NAME if delay > 0 else message.queue})
    return True
