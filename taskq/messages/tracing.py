"""Distributed traces: the headers that carry a trace from a message to its follow-ups, and the project's tracer.

Without a tracer no spans are made, and the headers that a caller gave are copied to the follow-ups of the task. Their
names are those of the W3C (https://www.w3.org/TR/trace-context/, https://www.w3.org/TR/baggage/) and of Sentry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from taskq.records import Envelope

T = TypeVar("T")

#: The headers of a trace. Each of the first two names the parent of a new span: without both there is no trace.
HEADERS = ("traceparent", "sentry-trace", "tracestate", "baggage")
_PARENT_SPAN = frozenset(HEADERS[:2])


class Tracer(Protocol):
    """Makes spans: ``taskq.contrib.opentelemetry`` has one. Its methods raise no errors of their own."""

    def sending(self, envelopes: Sequence[Envelope]) -> None:
        """Begin a span for each message that is about to be sent, and write its trace into its headers."""

    def sent(self, envelopes: Sequence[Envelope], error: BaseException | None) -> None:
        """End the spans of these messages; ``error`` says why they could not be sent."""

    def current(self) -> Mapping[str, str]:
        """Return the headers of the span that is active in this thread."""

    def run(self, run: Any, function: Callable[[Any], T]) -> T:
        """Return ``function(run)``, called within a span. ``run`` is an ``execution.run.Run`` whose message is read."""

    async def run_async(self, run: Any, function: Callable[[Any], Awaitable[T]]) -> T:
        """Do ``run`` for a coroutine. ``None`` is the outcome of a run that its pool has ended."""


#: The tracer of this process, and of those that are forked from it.
tracer: Tracer | None = None
_predecessor: ContextVar[Mapping[str, Any] | None] = ContextVar("taskq_trace_predecessor", default=None)


def install(new: Tracer | None) -> Tracer | None:
    """Let ``new`` make the spans of this process, or with ``None`` nobody; return the previous tracer."""
    global tracer
    before, tracer = tracer, new
    return before


def trace_of(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return the trace in the ``headers`` of a message, empty if there is none; values have to be text."""
    if _PARENT_SPAN.isdisjoint(headers):
        return {}
    return {name: value for name in HEADERS if type(value := headers.get(name)) is str}


def continue_trace(headers: Mapping[str, Any], envelopes: Iterable[Envelope]) -> None:
    """Copy the trace of a message with ``headers`` to its follow-ups. A follow-up that has a trace keeps it."""
    if found := trace_of(headers):
        for envelope in envelopes:
            if _PARENT_SPAN.isdisjoint(envelope.headers):
                envelope.headers.update(found)


@contextmanager
def follow_ups_of(headers: Mapping[str, Any]) -> Iterator[None]:
    """Plan the follow-ups of a message with ``headers`` in this block: ``current_trace`` is its trace.

    For a task that does not run here. The trace of a running task is known from its context.
    """
    token = _predecessor.set(headers)
    try:
        yield
    finally:
        _predecessor.reset(token)


def current_trace(running: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the headers of the active trace; ``running`` are the headers of the running task, or empty."""
    if tracer is not None and (found := tracer.current()):
        return found
    return trace_of(running) or trace_of(_predecessor.get() or {})


def add_trace(trace: Mapping[str, str], options: dict[str, Any]) -> None:
    """Add ``trace`` to the headers among the options of a call, unless the caller has given a trace."""
    own = options.get("headers") or {}
    if trace and isinstance(own, Mapping) and _PARENT_SPAN.isdisjoint(own):
        options["headers"] = {**own, **trace}
