"""What carries a trace from one message to the next: headers, and a tracer if the project has installed one.

Without a tracer nothing is made: headers that a caller has given go on to what follows from the task. The names are
those of the W3C (https://www.w3.org/TR/trace-context/, https://www.w3.org/TR/baggage/) and of Sentry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from taskq.records import Envelope

T = TypeVar("T")

#: The headers that go on to what follows from a task. One of the first two says where a span belongs.
HEADERS = ("traceparent", "sentry-trace", "tracestate", "baggage")
_WHERE = frozenset(HEADERS[:2])


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
_followed: ContextVar[Mapping[str, Any] | None] = ContextVar("taskq_followed", default=None)


def install(new: Tracer | None) -> Tracer | None:
    """Have spans made by ``new``, or with ``None`` by nobody; return the tracer before."""
    global tracer
    before, tracer = tracer, new
    return before


def carried(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return those of ``headers`` that carry a trace; they may come from a message, and hold anything."""
    if _WHERE.isdisjoint(headers):
        return {}
    return {name: value for name in HEADERS if type(value := headers.get(name)) is str}


def carry(headers: Mapping[str, Any], envelopes: Iterable[Envelope]) -> None:
    """Have messages that follow from one with ``headers`` go on with its trace, unless they have one of their own."""
    if found := carried(headers):
        for envelope in envelopes:
            if _WHERE.isdisjoint(envelope.headers):
                envelope.headers.update(found)


@contextmanager
def following(headers: Mapping[str, Any]) -> Iterator[None]:
    """Let what is planned in this block follow from a message with ``headers``, though its task does not run here."""
    token = _followed.set(headers)
    try:
        yield
    finally:
        _followed.reset(token)


def present(running: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the headers of the trace that is active now; ``running`` are those of the task that runs, if one does."""
    if tracer is not None and (found := tracer.current()):
        return found
    return carried(running) or carried(_followed.get() or {})


def put(found: Mapping[str, str], options: dict[str, Any]) -> None:
    """Write the headers of a trace into the options of a call, unless the caller has given some."""
    own = options.get("headers") or {}
    if found and isinstance(own, Mapping) and _WHERE.isdisjoint(own):
        options["headers"] = {**own, **found}
