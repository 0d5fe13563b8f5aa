"""Publish: the only place that sends tasks.

With the database broker a send is rows in the caller's transaction and on the
caller's connection. ``taskq.testing`` puts a sink in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured

from taskq import signals
from taskq.conf import database_broker_alias, masked_url, settings, two_databases
from taskq.engines import for_alias
from taskq.exceptions import QueueNotFound
from taskq.messages import serializers
from taskq.messages.protocol.options import is_storable
from taskq.messages.protocol.read import parts_of
from taskq.messages.routing import bound_queues, is_broadcast_exchange
from taskq.records import Envelope, NewGroup, NewNode
from taskq.store import topology, workflows
from taskq.store.enqueue import enqueue, enqueue_one, insert

logger = logging.getLogger("taskq")
#: Messages for one chunk of a large send, encoded together.
CHUNK = 500

Sink = Callable[[Sequence[Envelope]], None]
WorkflowSink = Callable[[Sequence[NewGroup], Sequence[NewNode]], None]
_sink: Sink | None = None
_workflow_sink: WorkflowSink | None = None


def set_sink(sink: Sink | None) -> Sink | None:
    """Send everything to ``sink`` from now on, or to the broker again; return what was there before."""
    global _sink
    previous, _sink = _sink, sink
    return previous


def set_workflow_sink(sink: WorkflowSink | None) -> WorkflowSink | None:
    """Tell ``sink`` of groups and nodes, before the messages that come with them; return what was there before."""
    global _workflow_sink
    previous, _workflow_sink = _workflow_sink, sink
    return previous


def publish_one(envelope: Envelope) -> None:
    """Send one message. Outside a transaction it is sent when this returns."""
    _announce(envelope)
    if _sink is not None:
        _sink([envelope])
    elif envelope.exchange:
        enqueue(_copies(envelope, _alias()), _alias())
    else:
        enqueue_one(envelope, _alias())
    _report(envelope)


def publish(envelopes: Iterable[Envelope]) -> None:
    """Send many messages, all of them or none: one transaction, in chunks as the iterable gives them."""
    rest = iter(envelopes)
    first = list(islice(rest, CHUNK))
    if not first:
        return
    if _sink is not None:
        _sent([*first, *rest], _sink)
        return
    alias = _alias()
    engine = for_alias(alias)
    if not engine.skip_locked:
        # Encode first: while this transaction is open nobody else can write.
        first += rest
    with engine.atomic(), engine.pipelined():
        while first:
            _sent(first, lambda chunk: insert(engine, _routed(chunk, alias)))
            first = list(islice(rest, CHUNK))


class Workflow(Protocol):
    """What ``publish_plan`` sends; ``canvas.plan.Plan`` is such."""

    envelopes: Iterator[Envelope]
    groups: list[NewGroup]
    nodes: Iterable[NewNode]


def publish_plan(plan: Workflow) -> None:
    """Send a workflow, all of it or nothing: groups and nodes first, then messages as ``publish`` does."""
    if _sink is not None:
        if _workflow_sink is not None:
            _workflow_sink(plan.groups, list(plan.nodes))
        publish(plan.envelopes)
        return
    engine = for_alias(_alias())
    envelopes: Iterable[Envelope] = plan.envelopes
    if not engine.skip_locked:
        # Encode first: while this transaction is open nobody else can write.
        envelopes = list(envelopes)
    nodes = list(plan.nodes)
    if not (plan.groups or nodes):
        publish(envelopes)
        return
    sent: set[str] = set()
    with engine.atomic():
        workflows.insert(engine, plan.groups, nodes, reset=True)
        publish(_noting(envelopes, sent))
        workflows.forget_before(engine, [node.task_id for node in nodes if node.task_id not in sent])


def _noting(envelopes: Iterable[Envelope], sent: set[str]) -> Iterator[Envelope]:
    for envelope in envelopes:
        sent.add(envelope.task_id)
        yield envelope


def _sent(chunk: Sequence[Envelope], send: Sink) -> None:
    for envelope in chunk:
        _announce(envelope)
    send(chunk)
    for envelope in chunk:
        _report(envelope)


def announce(envelopes: Iterable[Envelope]) -> None:
    """Tell ``before_task_publish``'s receivers of messages that follow from a task; they may add headers."""
    if signals.before_task_publish.receivers:
        for envelope in envelopes:
            _announce(envelope)


def report(envelopes: Iterable[Envelope]) -> None:
    """Tell ``after_task_publish``'s receivers of messages that follow from a task, and are committed."""
    for envelope in envelopes:
        _report(envelope)


def routed(envelopes: Sequence[Envelope]) -> Sequence[Envelope]:
    """Return messages that follow from a task with the queues that their exchanges lead to."""
    return _routed(envelopes, _alias())


def _routed(chunk: Sequence[Envelope], alias: str) -> Sequence[Envelope]:
    if not any(envelope.exchange for envelope in chunk):
        return chunk
    copies = [(envelope, _copies(envelope, alias)) for envelope in chunk]
    for envelope, found in copies:
        if not found:
            # Of many messages one may wait for another: they are sent all, or none.
            raise QueueNotFound(f"{envelope.name}: no worker reads the broadcast {envelope.exchange!r} now.")
    return [copy for _, found in copies for copy in found]


def _copies(envelope: Envelope, alias: str) -> Sequence[Envelope]:
    """Return one envelope for each queue that an exchange leads to; only the first is its task's row."""
    if not envelope.exchange:
        return [envelope]
    queues = _queues_of(envelope, alias)
    return [replace(envelope, queue=queue, tracked=envelope.tracked and not n) for n, queue in enumerate(queues)]


def _queues_of(envelope: Envelope, alias: str) -> list[str]:
    """Return the queues that an exchange leads to, or else the one that the sender has named.

    There are none only for a broadcast that no worker reads now.
    """
    exchange, key = envelope.exchange, envelope.routing_key
    if not is_storable(exchange) or (key and not is_storable(key)):
        # No database can even be asked for such names; a message of a foreign sender may have any.
        raise QueueNotFound(f"No queue can be bound to exchange {exchange!r} for {key!r}.")
    targets = topology.route(exchange, key, alias) or ()
    if found := {*bound_queues(exchange, key), *(target.queue for target in targets)}:
        return sorted(found)
    if is_broadcast_exchange(exchange):
        logger.warning("%s is sent to nobody: no worker reads the broadcast %r now.", envelope.name, exchange)
        return []
    if envelope.queue:
        return [envelope.queue]
    raise QueueNotFound(f"No queue is bound to exchange {exchange!r} for {key!r}: declare one in TASKQ_QUEUES.")


def _alias() -> str:
    alias = database_broker_alias()
    if alias is None:
        raise ImproperlyConfigured(
            f"TASKQ_BROKER_URL: this version sends tasks through django://, not {masked_url(settings.BROKER_URL)}."
        )
    if alias != settings.DATABASE:
        raise ImproperlyConfigured(two_databases(alias))
    return alias


def _announce(envelope: Envelope) -> None:
    if signals.before_task_publish.receivers:
        signals.send(
            signals.before_task_publish,
            envelope.name,
            body=_parts(envelope),
            exchange=envelope.exchange,
            routing_key=envelope.routing_key or envelope.queue,
            headers=envelope.headers,
            properties=envelope.properties,
            declare=[],
            retry_policy=None,
        )


def _report(envelope: Envelope) -> None:
    if signals.after_task_publish.receivers:
        signals.send(
            signals.after_task_publish,
            envelope.name,
            body=_parts(envelope),
            exchange=envelope.exchange,
            routing_key=envelope.routing_key or envelope.queue,
            headers=envelope.headers,
        )


def _parts(envelope: Envelope) -> Any:
    """Return ``(args, kwargs, embed)``, as receivers of Celery's signals expect; a body that is none as it is."""
    try:
        # Not decode_body: receivers may have changed headers that are signed.
        payload = serializers.payload_of(envelope.body, envelope.headers, envelope.properties)
        return parts_of(serializers.decode(payload, envelope.content_type, envelope.content_encoding))
    except Exception:  # a retry of a foreign message may be of another protocol
        return envelope.body
