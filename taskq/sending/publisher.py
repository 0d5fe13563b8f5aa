"""Publishes messages and workflows: the only place that publishes calls.

With the database broker it inserts rows in the caller's transaction, on the caller's connection.
``taskq.testing`` replaces the broker by a sink.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from django.core.exceptions import ImproperlyConfigured

from taskq.conf import database_broker_alias, masked_url, settings, two_databases
from taskq.engines import for_alias
from taskq.messages.announcing import announce, report
from taskq.records import Envelope, NewGroup, NewNode
from taskq.store import exchanges, workflow_rows
from taskq.store.enqueue import enqueue, enqueue_one, insert

logger = logging.getLogger("taskq")
#: Messages in one chunk of a large send.
CHUNK = 500

Sink = Callable[[Sequence[Envelope]], None]
WorkflowSink = Callable[[Sequence[NewGroup], Sequence[NewNode]], None]
_sink: Sink | None = None
_workflow_sink: WorkflowSink | None = None


def set_sink(sink: Sink | None) -> Sink | None:
    """Send all messages to ``sink``, or with ``None`` to the broker; return the previous sink."""
    global _sink
    previous, _sink = _sink, sink
    return previous


def set_workflow_sink(sink: WorkflowSink | None) -> WorkflowSink | None:
    """Send groups and nodes to ``sink``, before their messages; return the previous sink."""
    global _workflow_sink
    previous, _workflow_sink = _workflow_sink, sink
    return previous


def publish_one(envelope: Envelope) -> None:
    """Send one message; outside a transaction it is committed on return."""
    announce([envelope])
    if _sink is not None:
        _sink([envelope])
    elif envelope.exchange:
        enqueue(exchanges.copies_of(envelope, _alias()), _alias())
    else:
        enqueue_one(envelope, _alias())
    report([envelope])


def publish(envelopes: Iterable[Envelope]) -> None:
    """Send all messages or none: in one transaction, chunk by chunk as the iterable encodes them."""
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
        # Encode first: while this transaction is open, no other connection can write.
        first += rest
    with engine.atomic(), engine.pipelined():
        while first:
            _sent(first, lambda chunk: insert(engine, exchanges.resolve(chunk, alias)))
            first = list(islice(rest, CHUNK))


class Workflow(Protocol):
    """The argument of ``publish_plan``, implemented by ``workflows.plan.Plan``."""

    envelopes: Iterator[Envelope]
    groups: list[NewGroup]
    nodes: Iterable[NewNode]


def publish_plan(plan: Workflow) -> None:
    """Send a workflow in one transaction: groups and nodes first, then messages as ``publish``."""
    if _sink is not None:
        if _workflow_sink is not None:
            _workflow_sink(plan.groups, list(plan.nodes))
        publish(plan.envelopes)
        return
    engine = for_alias(_alias())
    envelopes: Iterable[Envelope] = plan.envelopes
    if not engine.skip_locked:
        # Encode first: while this transaction is open, no other connection can write.
        envelopes = list(envelopes)
    nodes = list(plan.nodes)
    if not (plan.groups or nodes):
        publish(envelopes)
        return
    sent: set[str] = set()
    with engine.atomic():
        workflow_rows.insert(engine, plan.groups, nodes, reset=True)
        publish(_noting(envelopes, sent))
        workflow_rows.forget_earlier_ends(engine, [node.task_id for node in nodes if node.task_id not in sent])


def _noting(envelopes: Iterable[Envelope], sent: set[str]) -> Iterator[Envelope]:
    for envelope in envelopes:
        sent.add(envelope.task_id)
        yield envelope


def _sent(chunk: Sequence[Envelope], send: Sink) -> None:
    announce(chunk)
    send(chunk)
    report(chunk)


def _alias() -> str:
    alias = database_broker_alias()
    if alias is None:
        raise ImproperlyConfigured(
            f"TASKQ_BROKER_URL: this version sends tasks through django://, not {masked_url(settings.BROKER_URL)}."
        )
    if alias != settings.DATABASE:
        raise ImproperlyConfigured(two_databases(alias))
    return alias
