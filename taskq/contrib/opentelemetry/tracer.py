"""Spans of OpenTelemetry: of a message that is sent, and of a run.

Names and attributes are those of the conventions for messaging, and ``celery.*`` those of Celery's instrumentation, so
that boards made for it go on. Sources: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ and
opentelemetry-instrumentation-celery.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, Token
from functools import partial
from typing import Any, TypeVar

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from taskq import __version__, states
from taskq.containment import contained
from taskq.log_escapes import get_logger
from taskq.messages.tracing import HEADERS
from taskq.records import Envelope

log = get_logger("taskq.tracing")
T = TypeVar("T")

#: The header of a retry's message with the span that sent it. The run of the retry is linked to it.
RETRY_OF = "taskq-retry-of"
#: Seconds that the export of the last spans of a process may take.
FLUSH = 2.0
#: The task that runs: its id, and how often it was retried.
_running: ContextVar[tuple[str, int] | None] = ContextVar("taskq_traced", default=None)


class OpenTelemetryTracer:
    """Makes spans by ``provider``, by default the one that is set for the process, even if it is set later."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("taskq", __version__, provider)
        #: The open spans of messages, by the identity of their envelopes.
        self._open: dict[int, Span] = {}

    # -- sending

    def sending(self, envelopes: Sequence[Envelope]) -> None:
        """Begin the spans of messages, as children of the active span, or else of the caller's headers."""
        for envelope in envelopes:
            try:
                self._begin(envelope)
            except contained():
                log.exception("The span of %s[%s] can't begin.", envelope.name, envelope.task_id)

    def _begin(self, envelope: Envelope) -> None:
        headers = envelope.headers
        context = contexts.get_current()
        if not _is_active(context):
            context = propagate.extract(_texts(headers), context)
        where = envelope.queue or envelope.routing_key or envelope.exchange
        attributes = _attributes("send", where, envelope.name, headers)
        span = self._tracer.start_span(f"send {where}", context, SpanKind.PRODUCER, attributes)
        self._open[id(envelope)] = span
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(span, context))
        if _is_retry(envelope) and "traceparent" in headers:
            # It goes on where the first try began, and is linked to the try before.
            headers[RETRY_OF] = carrier.get("traceparent", "")
        else:
            headers.update(carrier)

    def sent(self, envelopes: Sequence[Envelope], error: BaseException | None) -> None:
        """End the spans of messages."""
        for envelope in envelopes:
            if (span := self._open.pop(id(envelope), None)) is not None:
                with suppress(contained()):
                    if error is not None:
                        _fail(span, error)
                    span.end()

    def current(self) -> Mapping[str, str]:
        """Return the headers of the active span."""
        carrier: dict[str, str] = {}
        if _is_active(contexts.get_current()):
            propagate.inject(carrier)
        return {name: carrier[name] for name in HEADERS if name in carrier}

    # -- running

    def run(self, run: Any, function: Callable[[Any], T]) -> T:
        """Call ``function(run)`` within the span of the run."""
        try:
            span, tokens = self._enter(run)
        except contained():
            log.exception("The span of %s[%s] can't begin.", run.headers.task, run.headers.id)
            return function(run)
        try:
            outcome = function(run)
        except BaseException as error:
            # The process ends, perhaps without a word.
            self._leave(span, tokens, partial(_fail, span, error))
            flush()
            raise
        self._leave(span, tokens, partial(_conclude, span, run, outcome))
        return outcome

    async def run_async(self, run: Any, function: Callable[[Any], Awaitable[T]]) -> T:
        """Do ``run`` on an event loop that other runs share. No outcome is that of a run that its pool has ended."""
        try:
            span, tokens = self._enter(run)
        except contained():
            log.exception("The span of %s[%s] can't begin.", run.headers.task, run.headers.id)
            return await function(run)
        try:
            outcome = await function(run)
        except BaseException as error:
            self._leave(span, tokens, partial(_fail, span, error))
            raise
        ended = partial(span.set_status, Status(StatusCode.ERROR, "ended by the worker"))
        self._leave(span, tokens, ended if outcome is None else partial(_conclude, span, run, outcome))
        return outcome

    def _enter(self, run: Any) -> tuple[Span, tuple[Any, Token[Any]]]:
        headers, delivery = run.headers, run.delivery
        received = _texts(headers.raw)
        context = contexts.get_current()
        if not (run.inline and _is_active(context)):  # an eager run belongs to its caller
            context = propagate.extract(received, context)
        where = delivery.routing_key or delivery.exchange
        attributes = _attributes("process", where, headers.task, headers.raw)
        span = self._tracer.start_span(
            f"process {where}", context, SpanKind.CONSUMER, attributes, links=_links(received.get(RETRY_OF))
        )
        attached = contexts.attach(trace.set_span_in_context(span, context))
        return span, (attached, _running.set((headers.id, headers.retries)))

    def _leave(self, span: Span, tokens: tuple[Any, Token[Any]], conclude: Callable[[], None]) -> None:
        attached, running = tokens
        try:
            conclude()
        except contained():  # of an exception's own methods
            log.exception("The end of a span can't be told.")
        finally:
            span.end()
            _running.reset(running)
            contexts.detach(attached)


def flush(seconds: float = FLUSH) -> None:
    """Have the spans of this process exported, and wait for that ``seconds`` at most."""
    force = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force is None:
        return

    def export() -> None:
        with suppress(Exception):
            force(round(seconds * 1000))

    # Not all exporters heed the time that they are given.
    exporting = threading.Thread(target=export, name="taskq-flush", daemon=True)
    exporting.start()
    exporting.join(seconds)


def _is_active(context: contexts.Context) -> bool:
    return bool(trace.get_current_span(context).get_span_context().is_valid)


def _texts(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that are texts: those of a message may be anything."""
    return {name: value for name, value in headers.items() if type(value) is str}


def _is_retry(envelope: Envelope) -> bool:
    running, retries = _running.get(), envelope.headers.get("retries")
    return running is not None and envelope.task_id == running[0] and type(retries) is int and retries > running[1]


def _links(traceparent: str | None) -> list[Link]:
    if not traceparent:
        return []
    context = propagate.extract({"traceparent": traceparent}, contexts.Context())
    found = trace.get_current_span(context).get_span_context()
    return [Link(found)] if found.is_valid else []


def _attributes(action: str, where: str, task: str, headers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "messaging.system": "taskq",
        "messaging.operation.name": action,
        "messaging.operation.type": action,
        "messaging.destination.name": where,
        "messaging.message.id": str(headers.get("id")),
        "messaging.message.conversation_id": str(headers.get("root_id") or headers.get("id")),
        "celery.action": "apply_async" if action == "send" else "run",
        "celery.task_name": task,
        "celery.retries": headers.get("retries") or 0,
    }


def _conclude(span: Span, run: Any, outcome: Any) -> None:
    span.set_attribute("celery.state", outcome.state)
    if outcome.state == states.FAILURE and run.exception is not None:
        _fail(span, run.exception)
    elif outcome.state == states.RETRY:
        span.set_attribute("celery.retry.reason", str(run.exception))


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR))  # whatever the methods of the exception do
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
    span.record_exception(error)
