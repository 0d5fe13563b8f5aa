"""Publish: the only place that sends tasks.

With the database broker a send is rows in the caller's transaction and on the
caller's connection. ``taskq.testing`` puts a sink in its place.
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
    announce([envelope])
    if _sink is not None:
        _sink([envelope])
    elif envelope.exchange:
        enqueue(exchanges.copies_of(envelope, _alias()), _alias())
    else:
        enqueue_one(envelope, _alias())
    report([envelope])


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
            _sent(first, lambda chunk: insert(engine, exchanges.resolve(chunk, alias)))
            first = list(islice(rest, CHUNK))


class Workflow(Protocol):
    """What ``publish_plan`` sends; ``workflows.plan.Plan`` is such."""

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
