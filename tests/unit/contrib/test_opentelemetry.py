"""Spans of sending and running in this process, read from the SDK's exporter in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from taskq import task
from taskq.messages import tracing
from taskq.records import Envelope
from taskq.sending import publisher
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from taskq.contrib.opentelemetry.tracer import RETRY_OF, OpenTelemetryTracer

__all__ = ["registry", "sent", "worker"]
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def boom(hostile: bool = False) -> None:
    raise Hostile if hostile else ValueError("boom")


@task(bind=True)
def again(self: Any) -> str:
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return "at last"


@task
def sends() -> str:
    return add.delay(1, 1).id


@task
def leaves() -> None:
    raise SystemExit(3)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The exporter of a tracer that is installed meanwhile."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = tracing.install(OpenTelemetryTracer(provider))
    yield exporter
    tracing.install(before)


def one(spans: InMemorySpanExporter, name: str, task: str) -> ReadableSpan:
    (found,) = (s for s in spans.get_finished_spans() if s.name == name and _task(s) == task)
    return found


def _task(span: ReadableSpan) -> Any:
    return (span.attributes or {})["celery.task_name"]


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def test_a_send_and_its_run_are_one_trace(spans: InMemorySpanExporter, sent: list[Envelope], worker: Worker) -> None:
    result = add.delay(1, 2)
    worker.run()
    sending, running = one(spans, "send taskq", add.name), one(spans, "process taskq", add.name)
    assert (sending.kind, running.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert parent_of(running) == sending.context.span_id
    assert running.attributes is not None
    expected = {
        "messaging.system": "taskq", "messaging.destination.name": "taskq", "messaging.message.id": result.id,
        "messaging.operation.name": "process", "messaging.operation.type": "process", "celery.action": "run",
        "celery.task_name": add.name, "celery.state": "SUCCESS", "celery.retries": 0,
    }  # fmt: skip
    assert expected.items() <= dict(running.attributes).items()
    assert running.status.status_code is StatusCode.UNSET


def test_the_active_span_is_the_parent_and_beats_a_header(spans: InMemorySpanExporter, sent: list[Envelope]) -> None:
    outer = TracerProvider().get_tracer("test")
    with outer.start_as_current_span("request") as request:
        add.apply_async((1, 2), headers={"traceparent": CALLER})
    (sending,) = spans.get_finished_spans()
    assert parent_of(sending) == request.get_span_context().span_id
    assert sending.context.trace_id == request.get_span_context().trace_id


def test_without_an_active_span_the_header_of_the_caller_is_the_parent(
    spans: InMemorySpanExporter, sent: list[Envelope]
) -> None:
    add.apply_async((1, 2), headers={"traceparent": CALLER, "tracestate": "a=b"})
    (sending,) = spans.get_finished_spans()
    assert f"{sending.context.trace_id:x}" == CALLER.split("-")[1].lstrip("0")
    assert sent[0].headers["traceparent"].split("-")[2] == f"{sending.context.span_id:016x}"
    assert sent[0].headers["tracestate"] == "a=b"


def test_a_failure_has_its_exception_and_status(
    spans: InMemorySpanExporter, sent: list[Envelope], worker: Worker
) -> None:
    boom.delay()
    worker.run()
    span = one(spans, "process taskq", boom.name)
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError: boom"
    (event,) = span.events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "ValueError"
    assert "boom" in str(event.attributes["exception.stacktrace"])


def test_an_exception_without_a_text_costs_nothing_but_its_text(
    spans: InMemorySpanExporter, sent: list[Envelope], worker: Worker
) -> None:
    boom.delay(hostile=True)
    assert worker.run().state == "FAILURE"
    span = one(spans, "process taskq", boom.name)
    assert span.status.status_code is StatusCode.ERROR


def test_tries_are_siblings_with_links(spans: InMemorySpanExporter, sent: list[Envelope], worker: Worker) -> None:
    again.delay()
    states = []
    while True:
        outcome = worker.run()
        states.append(outcome.state)
        if outcome.state != "RETRY":
            break
        sent[:] = list(outcome.follow_ups.envelopes)
    assert states == ["RETRY", "RETRY", "SUCCESS"]
    tries = [s for s in spans.get_finished_spans() if s.name == "process taskq"]
    sends = {s.context.span_id: s for s in spans.get_finished_spans() if s.name == "send taskq"}
    assert len({s.context.trace_id for s in tries}) == 1
    assert len({parent_of(s) for s in tries}) == 1
    assert [len(s.links) for s in tries] == [0, 1, 1]
    for before, this in pairwise(tries):
        # The link leads to the span that sent the message, a child of the try before.
        assert parent_of(sends[this.links[0].context.span_id]) == before.context.span_id


def test_what_a_task_sends_is_its_child(spans: InMemorySpanExporter, sent: list[Envelope], worker: Worker) -> None:
    sends.delay()
    worker.run()
    inner = one(spans, "send taskq", add.name)
    assert parent_of(inner) == one(spans, "process taskq", sends.name).context.span_id


def test_callbacks_and_errbacks_are_children(spans: InMemorySpanExporter, sent: list[Envelope], worker: Worker) -> None:
    add.apply_async((1, 1), link=add.s(3))
    worker.run()
    ran = one(spans, "process taskq", add.name)
    followed = [s for s in spans.get_finished_spans() if s.name == "send taskq" and parent_of(s) == ran.context.span_id]
    assert len(followed) == 1
    boom.apply_async(link_error=again.si())
    del sent[0]
    worker.run()
    assert parent_of(one(spans, "send taskq", again.name)) == one(spans, "process taskq", boom.name).context.span_id


def test_a_task_that_ends_its_process_has_a_span(
    spans: InMemorySpanExporter, sent: list[Envelope], worker: Worker
) -> None:
    leaves.delay()
    with pytest.raises(SystemExit):
        worker.run()
    assert one(spans, "process taskq", leaves.name).status.status_code is StatusCode.ERROR


def test_no_span_is_left_active_or_open(spans: InMemorySpanExporter, sent: list[Envelope], worker: Worker) -> None:
    boom.delay()
    worker.run()
    assert not trace.get_current_span().get_span_context().is_valid
    assert isinstance(tracing.tracer, OpenTelemetryTracer)
    assert tracing.tracer._open == {}


@pytest.mark.django_db(transaction=True)
def test_a_send_that_fails_has_its_error(spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(publisher, "_enqueue_one", refuse)
    with pytest.raises(RuntimeError):
        add.delay(1, 2)
    (sending,) = spans.get_finished_spans()
    assert sending.status.description == "RuntimeError: no room"


@pytest.mark.parametrize(
    "rubbish", ["", "00-zz", "x" * 1000, 7, None, ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"], {"a": 1}]
)
def test_rubbish_in_the_headers_of_a_message_does_no_harm(
    spans: InMemorySpanExporter, sent: list[Envelope], worker: Worker, rubbish: Any, caplog: pytest.LogCaptureFixture
) -> None:
    add.delay(1, 2)
    sent[0].headers.update({"traceparent": rubbish, "tracestate": rubbish, "baggage": rubbish, RETRY_OF: rubbish})
    with caplog.at_level(logging.WARNING, "taskq"):
        assert worker.run().state == "SUCCESS"
    assert parent_of(one(spans, "process taskq", add.name)) is None
    assert not [record for record in caplog.records if record.name == "taskq.tracing"]


def test_the_app_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from django.apps import AppConfig

    monkeypatch.delitem(sys.modules, "taskq.contrib.opentelemetry.tracer")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    config = AppConfig.create("taskq.contrib.opentelemetry")
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'taskq-django\[opentelemetry\]'"):
        config.ready()
