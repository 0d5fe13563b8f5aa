"""Send: messages into the live queue or the schedule, and the runs that belong to them.

Outside a transaction one message is one statement on PostgreSQL; inside one it
commits and rolls back with everything else. Called by ``messages.publisher`` and by
``store.settle`` for what follows from a task.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from kombu.utils.json import JSONEncoder

from taskq import signals, states
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.engines.base import SCHEDULED_NAME
from taskq.messages.announcing import report
from taskq.records import Envelope

#: The channel on which workers listen; the payload is a queue's name, or empty for "several".
MESSAGE_CHANNEL = "taskq_message"
# PostgreSQL takes less than 8,000 bytes.
_PAYLOAD = 7900
_encode = JSONEncoder().encode


def enqueue_one(envelope: Envelope, alias: str | None = None) -> None:
    """Send one message; its run too if it is tracked."""
    engine = for_alias(alias or settings.DATABASE)
    engine.send(
        message_row(envelope),
        run_row(envelope) if envelope.tracked else None,
        delay=envelope.delay,
        reset=envelope.reset,
        wake=settings.NOTIFY,
    )


def enqueue(envelopes: Sequence[Envelope], alias: str | None = None) -> None:
    """Send many messages in one transaction, in chunks of a size that suits the database."""
    if not envelopes:
        return
    engine = for_alias(alias or settings.DATABASE)
    with engine.atomic():
        insert(engine, envelopes)


def insert(engine: Engine, envelopes: Sequence[Envelope]) -> None:
    """Write messages and their runs in the transaction that there is."""
    for start in range(0, len(envelopes), engine.chunk):
        chunk = envelopes[start : start + engine.chunk]
        insert_runs(engine, [e for e in chunk if e.tracked])
        insert_messages(engine, chunk)
    wake(engine, names_of(envelopes))


def names_of(envelopes: Iterable[Envelope]) -> set[str]:
    """Return what workers listen to for these messages: their queues, and the schedule for what is due later."""
    return {SCHEDULED_NAME if e.delay > 0 else e.queue for e in envelopes}


def insert_runs(engine: Engine, envelopes: Sequence[Envelope]) -> None:
    """Write the runs of new messages; those whose id the caller chose may be there already."""
    for reset in (False, True):
        # One row for an id, in the order of ids: no statement meets a row twice, no two wait for each other.
        rows = {e.task_id: run_row(e) for e in envelopes if e.reset is reset}
        if rows:
            engine.insert_runs([rows[task_id] for task_id in sorted(rows)], reset=reset)


def insert_messages(engine: Engine, envelopes: Sequence[Envelope]) -> None:
    """Write messages where they belong: what is due later goes into the schedule."""
    now = [message_row(e) for e in envelopes if e.delay <= 0]
    later = [e for e in envelopes if e.delay > 0]
    if now:
        engine.insert_messages(now)
    if later:
        engine.insert_scheduled([message_row(e) for e in later], [e.delay for e in later])


def follow(engine: Engine, envelopes: Sequence[Envelope]) -> None:
    """Write messages that follow from a task; once they are committed ``after_task_publish``'s receivers are told."""
    insert_messages(engine, envelopes)
    if signals.after_task_publish.receivers:
        transaction.on_commit(lambda: report(envelopes), using=engine.alias, robust=True)


def wake(engine: Engine, names: set[str]) -> None:
    """Wake the workers of the queues ``names`` at commit, with one notification."""
    if settings.NOTIFY and names:
        engine.notify(MESSAGE_CHANNEL, payload(sorted(names)))


def payload(names: Sequence[str]) -> str:
    """Return names as the payload of a notification: empty, which is "several", if there are too many or odd ones."""
    joined = ",".join(names)
    fits = len(joined) < _PAYLOAD and joined.isascii() and joined.count(",") == len(names) - 1
    return joined if fits else ""


def message_row(e: Envelope) -> tuple[Any, ...]:
    """Return the columns of a message, as ``engines.base.MESSAGE_COLUMNS`` names them."""
    body, properties = e.body, e.properties
    if isinstance(body, bytes):
        body, properties = base64.b64encode(body).decode(), {**properties, "body_encoding": "base64"}
    return (
        e.queue, e.task_id, e.name, e.priority, _encode(e.headers), body, e.content_type, e.content_encoding,
        _encode(properties), e.exchange, e.routing_key, e.tracked, e.expires, 0, False,
    )  # fmt: skip


def run_row(e: Envelope) -> tuple[Any, ...]:
    """Return the columns of a new run, as ``engines.base.RUN_COLUMNS`` names them."""
    headers = e.headers
    return (
        e.task_id, e.name, e.queue, e.priority, e.arguments, headers.get("root_id") or "",
        headers.get("parent_id") or "", headers.get("group") or "", headers.get("retries") or 0, e.expires,
        time.time() + e.delay if e.delay > 0 else None, states.PENDING, "application/json", "",
    )  # fmt: skip
