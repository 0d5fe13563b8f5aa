"""Headers of a trace go on without any tracer."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from taskq import chain, chord, group, task
from taskq.messages import tracing
from taskq.records import Envelope, Rest
from taskq.workflows import errbacks, followups
from taskq.workflows.plan import plan
from taskq.workflows.port import Body
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]
GIVEN = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
    "baggage": "c=d",
}
SENTRY = {"sentry-trace": "771a43a4192642f0b136d5159a501700-1234567890abcdef-1", "baggage": "sentry-release=1"}


@pytest.fixture(autouse=True)
def _no_tracer() -> Any:
    before = tracing.install(None)
    yield
    tracing.install(before)


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def boom() -> None:
    raise ValueError("boom")


@task(bind=True)
def again(self: Any) -> str:
    raise self.retry(countdown=0)


@task
def sends() -> None:
    add.delay(1, 1)


@task(bind=True)
def replaces(self: Any) -> Any:
    return self.replace(add.s(1, 2))


def traced(headers: Any) -> dict[str, Any]:
    return {name: headers[name] for name in tracing.HEADERS if name in headers}


def follow_up(worker: Worker, number: int = 0) -> dict[str, Any]:
    return traced(worker.run().follow_ups.envelopes[number].headers)


@pytest.mark.parametrize("given", [GIVEN, SENTRY, {**GIVEN, **SENTRY}])
class TestRuns:
    def test_callback(self, sent: list[Envelope], worker: Worker, given: dict[str, str]) -> None:
        add.apply_async((1, 1), link=add.s(), headers=given)
        assert follow_up(worker) == given

    def test_next_link(self, sent: list[Envelope], worker: Worker, given: dict[str, str]) -> None:
        chain(add.s(1, 1), add.s(2), add.s(3)).apply_async(headers=given)
        outcome = worker.run()
        assert traced(outcome.follow_ups.envelopes[0].headers) == given
        sent[:] = list(outcome.follow_ups.envelopes)
        assert follow_up(worker) == given

    def test_retry(self, sent: list[Envelope], worker: Worker, given: dict[str, str]) -> None:
        again.apply_async(headers=given)
        assert follow_up(worker) == given

    def test_errback(self, sent: list[Envelope], worker: Worker, given: dict[str, str]) -> None:
        boom.apply_async(link_error=add.s(), headers=given)
        assert follow_up(worker) == given

    def test_replacement(self, sent: list[Envelope], worker: Worker, given: dict[str, str]) -> None:
        replaces.apply_async(headers=given)
        assert follow_up(worker) == given

    def test_call_from_within(self, sent: list[Envelope], worker: Worker, given: dict[str, str]) -> None:
        sends.apply_async(headers=given)
        worker.run()
        assert traced(sent[-1].headers) == given


class TestMainProcess:
    """What is planned where no task runs."""

    def test_body_of_a_chord(self) -> None:
        planned = plan(chord(group(add.s(1), add.s(2)), add.s()), headers=GIVEN)
        assert [traced(envelope.headers) for envelope in planned.envelopes] == [GIVEN, GIVEN]
        (counted,) = planned.groups
        found = followups.of_body(Body("g", counted.body or "", counted.root_id, ""), [], "", [])
        assert [traced(envelope.headers) for envelope in found.envelopes] == [GIVEN]

    def test_body_of_a_chord_that_a_task_sends(self, sent: list[Envelope], worker: Worker) -> None:
        add.apply_async((1, 1), link=chord(group(add.s(1), add.s(2)), add.s()), headers=GIVEN)
        outcome = worker.run()
        (counted,) = outcome.follow_ups.groups
        found = followups.of_body(Body("g", counted.body or "", counted.root_id, ""), [], "", [])
        assert [traced(envelope.headers) for envelope in found.envelopes] == [GIVEN]

    def test_errbacks_of_a_body_that_can_not_run(self) -> None:
        body = add.s().on_error(add.s())
        planned = plan(chord(group(add.s(1)), body), headers=GIVEN)
        list(planned.envelopes)
        found = followups.of_failed_body(planned.groups[0].body or "", "{}", errbacks.planned)
        assert [traced(envelope.headers) for envelope in found.envelopes] == [GIVEN]

    def test_errbacks_of_a_lost_task(self) -> None:
        failure = errbacks.Failure({"id": "a", "task": boom.name, **GIVEN}, "{}")
        found = errbacks.planned([add.s()], failure)
        assert [traced(envelope.headers) for envelope in found.envelopes] == [GIVEN]

    def test_rest_of_a_long_chain(self, sent: list[Envelope], worker: Worker) -> None:
        steps = [add.s(1, 1), *(add.s(n) for n in range(40)), chord(group(add.s(1), add.s(2)), add.s())]
        planned = plan(chain(*steps), headers=GIVEN)
        sent[:] = list(planned.envelopes)
        texts = {row.group_id: row.body or "" for row in planned.groups}
        while not (outcome := worker.run()).follow_ups.rests:
            sent[:] = list(outcome.follow_ups.envelopes)
        rest = Rest(*json.loads(json.dumps(_fields(outcome.follow_ups.rests[0]))))
        found, _ = followups.of_rest(rest, texts[rest.key])
        assert [traced(envelope.headers) for envelope in found.envelopes] == [GIVEN]


def _fields(rest: Rest) -> list[Any]:
    return [getattr(rest, name) for name in Rest.__slots__]


@pytest.mark.parametrize("rubbish", [7, None, ["a"], {"a": 1}])
def test_what_is_no_text_is_not_carried(sent: list[Envelope], worker: Worker, rubbish: Any) -> None:
    add.apply_async((1, 1), link=add.s())
    sent[0].headers["traceparent"] = rubbish
    assert follow_up(worker) == {}


def test_a_message_keeps_the_trace_that_it_was_given(sent: list[Envelope], worker: Worker) -> None:
    other = {"traceparent": GIVEN["traceparent"].replace("b7", "b8")}
    add.apply_async((1, 1), link=add.s().set(headers=other), headers=GIVEN)
    assert follow_up(worker) == other


def test_nothing_is_called_for_traces_while_there_are_none(
    sent: list[Envelope], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    for name, value in list(vars(tracing).items()):
        if inspect.isfunction(value):
            monkeypatch.setattr(tracing, name, lambda *given, name=name, **named: called.append(name))
    add.delay(1, 1)
    assert called == []
