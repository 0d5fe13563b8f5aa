"""Enqueue: messages go into their queue or the schedule, and their TaskRuns are inserted.

Outside a transaction one message is one statement on PostgreSQL; inside a transaction it commits and rolls back with
everything else. Called by ``sending.publisher`` and the transport, and by all of the store that puts messages into
queues.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction

from taskq import signals, states
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.engines.marks import MESSAGE_CHANNEL, SCHEDULED_NAME
from taskq.messages import arguments
from taskq.messages.announcing import report
from taskq.messages.serializers import to_json
from taskq.records import Envelope


def enqueue_one(envelope: Envelope, alias: str | None = None) -> None:
    """Insert one message, and its TaskRun if it is tracked."""
    insert_one(for_alias(alias or settings.DATABASE), envelope)


def insert_one(engine: Engine, envelope: Envelope) -> None:
    """Insert one message and its TaskRun, in the caller's transaction or in one of its own."""
    engine.send(
        message_row(envelope),
        run_row(envelope) if envelope.tracked else None,
        due=envelope.due if envelope.later else None,
        reset=envelope.reset,
        wake=settings.NOTIFY,
    )


def enqueue(envelopes: Sequence[Envelope], alias: str | None = None) -> None:
    """Insert many messages and their TaskRuns in one transaction, in chunks that suit the database."""
    if not envelopes:
        return
    engine = for_alias(alias or settings.DATABASE)
    with engine.atomic():
        insert(engine, envelopes)


def insert(engine: Engine, envelopes: Sequence[Envelope]) -> None:
    """Insert messages and their TaskRuns in the caller's transaction."""
    for start in range(0, len(envelopes), engine.chunk):
        chunk = envelopes[start : start + engine.chunk]
        insert_runs(engine, [e for e in chunk if e.tracked])
        insert_messages(engine, chunk)
    wake(engine, names_of(envelopes))


def insert_again(engine: Engine, envelopes: Sequence[Envelope]) -> None:
    """Insert messages of tasks that have their rows, in the caller's transaction."""
    for start in range(0, len(envelopes), engine.chunk):
        insert_messages(engine, envelopes[start : start + engine.chunk])
    wake(engine, names_of(envelopes))


def names_of(envelopes: Iterable[Envelope]) -> set[str]:
    """Return the names to notify workers of: the messages' queues, and ``SCHEDULED_NAME`` for those due later."""
    return {SCHEDULED_NAME if e.later else e.queue for e in envelopes}


def insert_runs(engine: Engine, envelopes: Sequence[Envelope]) -> None:
    """Insert the TaskRuns of new messages; the run of an id that the caller chose may exist already."""
    for reset in (False, True):
        # One row an id, in the order of ids: no statement meets a row twice, and no two transactions deadlock.
        rows = {e.task_id: run_row(e) for e in envelopes if e.reset is reset}
        if rows:
            engine.insert_runs([rows[task_id] for task_id in sorted(rows)], reset=reset)


def insert_messages(engine: Engine, envelopes: Sequence[Envelope]) -> None:
    """Insert messages into their queues, those that are due later into the schedule."""
    now = [message_row(e) for e in envelopes if not e.later]
    later = [e for e in envelopes if e.later]
    if now:
        engine.insert_messages(now)
    if later:
        engine.insert_scheduled([message_row(e) for e in later], [e.due for e in later])


def follow(engine: Engine, envelopes: Sequence[Envelope]) -> None:
    """Insert the follow-ups of a task; send ``after_task_publish`` for them when they are committed."""
    insert_messages(engine, envelopes)
    report_on_commit(engine, envelopes)


def report_on_commit(engine: Engine, envelopes: Sequence[Envelope]) -> None:
    """Send ``after_task_publish`` for messages when they are committed, at once outside ``atomic()``."""
    if not signals.after_task_publish.receivers:
        return
    if engine.connection.in_atomic_block:
        transaction.on_commit(lambda: report(envelopes), using=engine.alias, robust=True)
    else:
        report(envelopes)


def wake(engine: Engine, names: set[str]) -> None:
    """Wake the workers of the queues ``names`` at commit, with one notification."""
    if names:
        engine.notify(MESSAGE_CHANNEL, sorted(names))


def message_row(e: Envelope) -> tuple[Any, ...]:
    """Return the columns of a message, as ``engines.base.MESSAGE_COLUMNS`` names them.

    Raises ``ValueError`` if the headers and properties are above ``TASKQ_MAX_HEADERS_SIZE``.
    """
    body, properties = e.body, e.properties
    if isinstance(body, bytes):
        body, properties = base64.b64encode(body).decode(), {**properties, "body_encoding": "base64"}
    headers, others = to_json(e.headers), to_json(properties)
    most = settings.MAX_HEADERS_SIZE
    if most is not None and len(headers) + len(others) > most:
        raise ValueError(
            f"The message for {e.name or e.queue} has {len(headers) + len(others)} bytes of headers and properties, "
            f"above TASKQ_MAX_HEADERS_SIZE ({most}): pass large data as an argument."
        )
    return (
        e.queue, e.task_id, e.name, e.priority, headers, body, e.content_type, e.content_encoding,
        others, e.exchange, e.routing_key, e.tracked, *e.expiry, 0, False,
    )  # fmt: skip


def run_row(e: Envelope) -> tuple[Any, ...]:
    """Return the columns of a new TaskRun, as ``engines.base.RUN_COLUMNS`` names them."""
    headers, text = e.headers, arguments.seal(e.arguments, e.task_id, e.name)
    return (
        e.task_id, e.name, e.queue, e.priority, text, headers.get("root_id") or "",
        headers.get("parent_id") or "", headers.get("group") or "", headers.get("retries") or 0, *e.expiry,
        *e.due, states.PENDING, "application/json", "",
    )  # fmt: skip
