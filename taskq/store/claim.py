"""Claim: a worker takes messages of one queue. They carry its token until they are settled or requeued."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from django.db.models import F

from taskq import states
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Exchange, Message, TaskRun
from taskq.records import Claimed

from . import log_lines
from .transactions import repeated


def claim(
    queue: str, limit: int, token: str, alias: str | None = None, *, after: Mapping[int, int] | None = None
) -> list[Claimed]:
    """Claim up to ``limit`` waiting messages of ``queue`` for ``token``, the most urgent and oldest first.

    Large messages come without their texts: see ``large``.
    One statement over one queue, so that it reads an index in order however long the queue is. ``after`` has ids by
    priority: an engine with ``keeps_dead_entries`` claims messages behind them only.
    """
    engine = for_alias(alias or settings.DATABASE)
    began = time.monotonic()
    found = repeated(engine, lambda: engine.claim(queue, limit, token, after), locked=False)
    log_lines.messages_claimed(found, time.monotonic() - began)
    return found


def with_messages(queues: Sequence[str], alias: str | None = None) -> set[str]:
    """Return those of ``queues`` in which messages wait: one statement, for workers of many queues that are idle."""
    return for_alias(alias or settings.DATABASE).with_messages(queues)


def newest(alias: str | None = None) -> int | None:
    """Return the largest id that a message has had so far, where the engine ``keeps_dead_entries``."""
    return for_alias(alias or settings.DATABASE).newest_message()


def held(token: str, alias: str | None = None) -> set[int]:
    """Return the ids of all messages with this token."""
    rows = Message.objects.using(alias or settings.DATABASE).filter(token=token)
    return set(rows.values_list("id", flat=True))


def holders(ids: Sequence[int], alias: str | None = None) -> dict[int, str]:
    """Return the token of each of these messages, which is empty while it waits; messages that are gone have none."""
    return dict(Message.objects.using(alias or settings.DATABASE).filter(id__in=ids).values_list("id", "token"))


def count_start(token: str, ids: Sequence[int], alias: str | None = None) -> set[int]:
    """Commit one more start of redelivered messages; return the ids of those that may start.

    A message that ``token`` no longer holds may not start. Nor may a message whose task has already ended: it is
    deleted, unless a topic or fanout exchange has put copies of it into several queues; each copy runs.
    """
    alias = alias or settings.DATABASE
    with for_alias(alias).atomic():
        rows = Message.objects.using(alias).select_for_update().filter(id__in=ids, token__unindexed=token)
        found = list(rows.order_by("id").values_list("id", "task_id", "exchange"))
        copying = copying_exchanges({exchange for _, _, exchange in found if exchange}, alias)
        single = {message_id: task_id for message_id, task_id, exchange in found if exchange not in copying}
        final = set(
            TaskRun.objects.using(alias)
            .filter(task_id__in=single.values(), state__in=states.READY_STATES)
            .values_list("task_id", flat=True)
        )
        done = {message_id for message_id, task_id in single.items() if task_id in final}
        starting = {message_id for message_id, _, _ in found} - done
        Message.objects.using(alias).filter(id__in=done).delete()
        Message.objects.using(alias).filter(id__in=starting).update(deliveries=F("deliveries") + 1)
    return starting


def set_starts(token: str, message_id: int, starts: int, alias: str | None = None) -> bool:
    """Commit how many starts of a message are counted; tell whether ``token`` holds it."""
    rows = Message.objects.using(alias or settings.DATABASE).filter(id=message_id, token__unindexed=token)
    return rows.update(deliveries=starts) > 0


def task_name(message_id: int, alias: str | None = None) -> str:
    """Return the name of a message's task, as its row has it."""
    rows = Message.objects.using(alias or settings.DATABASE).filter(id=message_id)
    return rows.values_list("name", flat=True).first() or ""


def copying_exchanges(exchanges: set[str], alias: str) -> set[str]:
    """Return those of ``exchanges`` that may have put one message into several queues."""
    rows = Exchange.objects.using(alias).filter(name__in=exchanges).exclude(type="direct")
    return set(rows.values_list("name", flat=True)) if exchanges else set()


def acknowledge(token: str, ids: Sequence[int], alias: str | None = None) -> set[int]:
    """Commit that messages must not run again, whatever happens; return the ids that ``token`` still holds."""
    alias = alias or settings.DATABASE
    with for_alias(alias).atomic():
        rows = Message.objects.using(alias).select_for_update().filter(id__in=ids, token__unindexed=token)
        held = set(rows.order_by("id").values_list("id", flat=True))
        Message.objects.using(alias).filter(id__in=held).update(acked=True)
    return held


def revoke_requests(token: str, ids: Collection[int], alias: str | None = None) -> dict[int, str]:
    """Return those of the messages ``ids`` of ``token`` that were revoked, with their flags.

    A flag is ``revoke``, or the signal for the process that runs the task.
    """
    held = Message.objects.using(alias or settings.DATABASE).filter(id__in=ids, token__unindexed=token)
    return dict(held.exclude(revoked="").values_list("id", "revoked"))
