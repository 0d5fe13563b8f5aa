"""Publishes messages and workflows: the only place that publishes calls.

With the database broker it inserts rows in the caller's transaction, on the caller's connection. Outside a transaction
it makes one of its own, and repeats it after a deadlock, a serialization failure or a lock time-out.
``taskq.testing`` replaces the broker by a sink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import chain, islice
from typing import Protocol, TypeVar

from django.core.exceptions import ImproperlyConfigured

from taskq.conf import database_broker_alias, masked_url, settings, two_databases
from taskq.engines import Engine, for_alias
from taskq.log_escapes import get_logger
from taskq.messages import tracing
from taskq.messages.announcing import announce, report
from taskq.messages.protocol import seal
from taskq.records import Envelope, NewGroup, NewNode
from taskq.store import exchanges, retry, revoke, workflow_rows
from taskq.store.enqueue import enqueue, insert, insert_again, insert_one, report_on_commit
from taskq.store.transactions import repeated

logger = get_logger("taskq")
#: Messages in one chunk of a large send.
CHUNK = 500
#: Chunks of one send that are kept in memory, so that its transaction can be repeated.
_KEPT = 40
#: Chunks that are sent to the database before its answers are read.
_UNANSWERED = 4

Sink = Callable[[Sequence[Envelope]], None]
WorkflowSink = Callable[[Sequence[NewGroup], Sequence[NewNode]], None]
T = TypeVar("T")
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
    if _sink is not None:
        _send_to_sink([envelope], _sink)
        return
    envelopes = [envelope]
    try:
        announce(envelopes, published=True)
        engine = for_alias(_broker_alias())
        repeated(engine, partial(_enqueue_one, engine, envelope))
    except BaseException as error:
        if tracing.tracer is not None:
            tracing.tracer.sent(envelopes, error)
        raise
    if tracing.tracer is not None:
        tracing.tracer.sent(envelopes, None)
    report_on_commit(engine, envelopes)


def _enqueue_one(engine: Engine, envelope: Envelope) -> None:
    if envelope.exchange:
        copies = exchanges.copies_of(envelope, engine.alias)
        seal(copies)
        enqueue(copies, engine.alias)
    else:
        seal([envelope])
        insert_one(engine, envelope)


def publish(envelopes: Iterable[Envelope]) -> None:
    """Send all messages or none: in one transaction, chunk by chunk as the iterable encodes them."""
    if _sink is not None:
        if all_ := list(envelopes):
            _send_to_sink(all_, _sink)
        return
    engine = for_alias(_broker_alias())
    chunks = _Chunks(engine, envelopes)
    if chunks.any():
        repeated(engine, partial(_enqueue, engine, chunks), repeatable=chunks.all_kept)


class _Chunks:
    """The messages of one send in chunks, encoded as they are read.

    They can be read again as long as all of them are kept. Signals are sent at the first reading only.
    """

    def __init__(self, engine: Engine, envelopes: Iterable[Envelope]) -> None:
        self._rest = iter(envelopes)
        if not engine.skip_locked:
            # While a transaction is open on a database with one writer, no other connection can write: encode before it
            # as many messages as may be kept.
            self._rest = chain(list(islice(self._rest, _KEPT * CHUNK)), self._rest)
        self._kept: list[list[Envelope]] = []
        self._dropped = False

    def any(self) -> bool:
        """Tell whether there are messages."""
        first = next(self._rest, None)
        if first is not None:
            self._rest = chain([first], self._rest)
        return first is not None

    def all_kept(self) -> bool:
        """Tell whether all messages that were read can be read again."""
        return not self._dropped

    def __iter__(self) -> Iterator[list[Envelope]]:
        yield from self._kept
        while chunk := list(islice(self._rest, CHUNK)):
            announce(chunk)
            self._keep(chunk)
            yield chunk

    def _keep(self, chunk: list[Envelope]) -> None:
        self._dropped = self._dropped or len(self._kept) == _KEPT
        if self._dropped:
            self._kept.clear()
        else:
            self._kept.append(chunk)


def _enqueue(engine: Engine, chunks: Iterable[list[Envelope]]) -> None:
    """Insert all messages in one transaction."""
    rest = iter(chunks)
    with engine.atomic():
        while first := next(rest, None):
            # The driver keeps the values of all statements without an answer.
            with engine.pipelined():
                for chunk in chain((first,), islice(rest, _UNANSWERED - 1)):
                    resolved = exchanges.resolve(chunk, engine.alias)
                    seal(resolved)
                    insert(engine, resolved)
                    report_on_commit(engine, chunk)


class Workflow(Protocol):
    """The argument of ``publish_plan``: a ``workflows.plan.Plan``. A repetition reads the nodes again."""

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
    engine = for_alias(_broker_alias())
    chunks = _Chunks(engine, plan.envelopes)

    def write() -> None:
        later: list[str] = []
        roots: set[str] = set()
        with engine.atomic():
            workflow_rows.insert(engine, plan.groups, _noting(plan.nodes, later, roots), reset=True)
            _enqueue(engine, chunks)
            workflow_rows.forget_earlier_ends(engine, later)
            revoke.revoke_remembered(engine, roots)

    if chunks.any() or plan.groups or any(True for _ in plan.nodes):
        repeated(engine, write, repeatable=chunks.all_kept)


def publish_in_place(task_ids: Sequence[str], plan: retry.Plan) -> tuple[list[Envelope], retry.Refused]:
    """Run ended tasks again under their ids: reset their rows and send them in one transaction.

    Returns the messages, and the tasks that were refused.
    """

    def choose(engine: Engine) -> tuple[list[Envelope], tuple[list[Envelope], retry.Refused]]:
        envelopes, refused = retry.reset(engine, task_ids, plan)
        return envelopes, (envelopes, refused)

    return _publish_chosen(choose, insert_again)


def publish_as_new(
    task_ids: Sequence[str], plan: retry.Plan, by: str, reason: str, since: datetime | None = None
) -> tuple[list[tuple[str, Envelope]], retry.Refused]:
    """Run ended tasks again as new tasks: send these, each with a ``Rerun`` that links the two, in one transaction.

    Returns the old ids with the messages, and the tasks that were refused: also those that were run again ``since``.
    """

    def choose(engine: Engine) -> tuple[list[Envelope], tuple[list[tuple[str, Envelope]], retry.Refused]]:
        found, refused = retry.link(engine, task_ids, plan, by, reason, since)
        return [envelope for _, envelope in found], (found, refused)

    return _publish_chosen(choose, insert)


def _publish_chosen(
    choose: Callable[[Engine], tuple[list[Envelope], T]], put: Callable[[Engine, Sequence[Envelope]], None]
) -> T:
    """Send the messages that ``choose`` returns, by ``put``, in the transaction of ``choose``.

    Returns the second value of ``choose``.
    """
    engine = for_alias(_broker_alias())

    def write() -> T:
        with engine.atomic():
            envelopes, found = choose(engine)
            if envelopes and _sink is not None:
                _send_to_sink(envelopes, _sink)
            elif envelopes:
                announce(envelopes)
                resolved = exchanges.resolve(envelopes, engine.alias)
                seal(resolved)
                put(engine, resolved)
                report_on_commit(engine, envelopes)
        return found

    return repeated(engine, write)


def _noting(nodes: Iterable[NewNode], later: list[str], roots: set[str]) -> Iterator[NewNode]:
    """Yield the nodes; add the ids of tasks that are not sent now to ``later``, and the roots to ``roots``."""
    for node in nodes:
        roots.add(node.root_id)
        if node.waits_for:
            later.append(node.task_id)
        yield node


def _send_to_sink(chunk: Sequence[Envelope], send: Sink) -> None:
    announce(chunk)
    send(chunk)
    report(chunk)


def _broker_alias() -> str:
    alias = database_broker_alias()
    if alias is None:
        raise ImproperlyConfigured(
            f"TASKQ_BROKER_URL: this version sends tasks through django://, not {masked_url(settings.BROKER_URL)}."
        )
    if alias != settings.DATABASE:
        raise ImproperlyConfigured(two_databases(alias))
    return alias
