"""Tells receivers of ``before_task_publish`` and ``after_task_publish`` about messages.

Called by the publisher, where follow-ups are planned, and by the store when it has inserted them. It publishes no
message itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from taskq import signals
from taskq.records import Envelope

from . import serializers, tracing
from .protocol.read import parts_of


def announce(envelopes: Sequence[Envelope], *, published: bool = False) -> None:
    """Write traces, and send ``before_task_publish`` for each message. Receivers may change its headers.

    If the messages are ``published`` now, and not with the end of a task, the caller tells the tracer when they are.
    """
    if tracing.tracer is not None:
        tracing.tracer.sending(envelopes)
        if not published:
            tracing.tracer.sent(envelopes, None)
    if signals.before_task_publish.receivers:
        for envelope in envelopes:
            more: dict[str, Any] = {"properties": envelope.properties, "declare": [], "retry_policy": None}
            signals.send(signals.before_task_publish, envelope.name, **_signal_arguments(envelope), **more)


def report(envelopes: Iterable[Envelope]) -> None:
    """Send ``after_task_publish`` for each message, which is at the broker or in the caller's transaction."""
    if signals.after_task_publish.receivers:
        for envelope in envelopes:
            signals.send(signals.after_task_publish, envelope.name, **_signal_arguments(envelope))


def _signal_arguments(envelope: Envelope) -> dict[str, Any]:
    return {
        "body": _parts(envelope),
        "exchange": envelope.exchange,
        "routing_key": envelope.routing_key or envelope.queue,
        "headers": envelope.headers,
    }


def _parts(envelope: Envelope) -> Any:
    """Return ``(args, kwargs, embed)``, as receivers of Celery's signals expect; a body of another shape as it is."""
    try:
        payload = serializers.decompress(serializers.sealed_part(envelope.body, envelope.properties), envelope.headers)
        return parts_of(serializers.decode(payload, envelope.content_type, envelope.content_encoding))
    except Exception:  # the retry of another producer's message may have another protocol
        return envelope.body
