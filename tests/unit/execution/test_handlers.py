"""Handlers and signals: who is told what, and that nobody can change the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq import Task, register, signals, states, task
from taskq.exceptions import Ignore, Reject, TaskTerminated
from taskq.records import Envelope
from taskq.sending import send
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]


class Told(Task[..., Any]):
    """Notes which handlers are called with what."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def before_start(self, *args: Any) -> None:
        self.seen.append(("before_start", *args))

    def on_success(self, *args: Any) -> None:
        self.seen.append(("on_success", *args))

    def on_failure(self, *args: Any) -> None:
        self.seen.append(("on_failure", *args))

    def on_retry(self, *args: Any) -> None:
        self.seen.append(("on_retry", *args))

    def after_return(self, *args: Any) -> None:
        self.seen.append(("after_return", *args))


@pytest.fixture
def told() -> Any:
    def define(function: Any, **options: Any) -> Any:
        return task(name="told", base=Told, **options)(function)

    return define


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any]]]:
    """Collect the signals of tasks."""
    names = [name for name in vars(signals) if name.startswith("task_") and name != "task_context"]
    calls: list[tuple[str, Any]] = []
    connected = []
    for name in names:

        def receiver(signal: Any, sender: Any, *, _name: str = name, **named: Any) -> None:
            calls.append((_name, {"sender": sender, **named}))

        getattr(signals, name).connect(receiver, weak=False)
        connected.append((name, receiver))
    yield calls
    for name, receiver in connected:
        getattr(signals, name).disconnect(receiver)


def boom(*args: Any) -> None:
    raise ValueError("boom")


def test_handlers_given_to_the_decorator_are_methods(sent: list[Envelope], worker: Worker) -> None:
    """As in Celery: a function among the options is what it would be in the class."""
    seen: list[Any] = []

    def note(name: str) -> Any:
        return lambda self, *args: seen.append((name, self, *args))

    names = ("before_start", "on_success", "on_failure", "on_retry", "after_return")
    halve = task(name="halve", **{name: note(name) for name in names})(lambda x: 4 // x)
    halve.delay(2)
    assert worker.run().state == states.SUCCESS
    id = sent[-1].task_id
    assert seen[:2] == [("before_start", halve, id, [2], {}), ("on_success", halve, 2, id, [2], {})]
    halve.delay(0)
    assert worker.run().state == states.FAILURE
    assert [name for name, *_ in seen[2:]] == ["after_return", "before_start", "on_failure", "after_return"]


@pytest.mark.parametrize("classes", [ValueError, (ValueError,), [ValueError, OSError]])
def test_exception_among_throws_is_logged_as_expected_without_traceback(
    sent: list[Envelope], worker: Worker, told: Any, heard: list[Any], caplog: pytest.LogCaptureFixture, classes: Any
) -> None:
    one = told(lambda: int("x"), throws=classes)
    one.delay()
    with caplog.at_level("INFO"):
        assert worker.run().state == states.FAILURE
    assert [name for name, *_ in one.seen] == ["before_start", "on_failure", "after_return"]
    assert "task_failure" in [name for name, _ in heard]
    assert "raised expected" in caplog.text
    assert "Traceback" not in caplog.text


def test_handlers_and_signals_of_a_success(sent: list[Envelope], worker: Worker, told: Any, heard: list[Any]) -> None:
    good = told(lambda x, y: x + y)
    good.delay(1, y=2)
    worker.run()
    id = sent[0].task_id
    assert good.seen == [
        ("before_start", id, [1], {"y": 2}),
        ("on_success", 3, id, [1], {"y": 2}),
        ("after_return", "SUCCESS", 3, id, [1], {"y": 2}, None),
    ]
    arguments = {"task_id": id, "task": good, "args": [1], "kwargs": {"y": 2}}
    (prerun, first), (success, second), (postrun, third) = heard
    assert (prerun, success, postrun) == ("task_prerun", "task_success", "task_postrun")
    assert first == {"sender": good, **arguments}
    assert second["result"] == 3
    assert second["runtime"] >= 0
    assert third == {"sender": good, **arguments, "retval": 3, "state": "SUCCESS"}


def test_handlers_and_signals_of_a_failure(sent: list[Envelope], worker: Worker, told: Any, heard: list[Any]) -> None:
    bad = told(boom)
    bad.delay(1)
    worker.run()
    _, failed, after = bad.seen
    error, einfo = failed[1], failed[-1]
    assert failed == ("on_failure", error, sent[0].task_id, [1], {}, einfo)
    assert repr(error) == "ValueError('boom')"
    assert (einfo.exception, einfo.type) == (error, ValueError)
    assert str(einfo).startswith("Traceback")
    assert repr(einfo) == "<ExceptionInfo: ValueError>"
    assert after[:3] == ("after_return", "FAILURE", error)
    assert [name for name, _ in heard] == ["task_prerun", "task_failure", "task_postrun"]
    named = heard[1][1]
    assert set(named) == {"sender", "task_id", "exception", "args", "kwargs", "traceback", "einfo"}
    assert heard[2][1]["state"] == "FAILURE"


def test_handlers_and_signals_of_a_retry(sent: list[Envelope], worker: Worker, told: Any, heard: list[Any]) -> None:
    again = told(boom, autoretry_for=(ValueError,))
    again.delay()
    worker.run()
    assert [call[0] for call in again.seen] == ["before_start", "on_retry"]
    assert repr(again.seen[1][1]) == "ValueError('boom')"
    assert [name for name, _ in heard] == ["task_prerun", "task_retry", "task_postrun"]
    assert heard[1][1]["request"].id == sent[0].task_id
    assert "Retry in 180s" in str(heard[1][1]["reason"])


@pytest.mark.parametrize(
    ("error", "signal_names"),
    [
        (Ignore(), ["task_prerun", "task_postrun"]),
        (Reject("x", requeue=True), ["task_prerun", "task_rejected", "task_postrun"]),
    ],
)
def test_ignored_and_rejected_runs_call_no_handler_after_before_start(
    sent: list[Envelope], worker: Worker, told: Any, heard: list[Any], error: Exception, signal_names: list[str]
) -> None:
    def run() -> None:
        raise error

    quiet = told(run)
    quiet.delay()
    worker.run()
    assert [call[0] for call in quiet.seen] == ["before_start"]
    assert [name for name, _ in heard] == signal_names


def test_messages_not_run_send_their_signals(sent: list[Envelope], worker: Worker, told: Any, heard: list[Any]) -> None:
    late = told(lambda: None)
    late.apply_async(expires=-1)
    worker.run()
    assert late.seen == []
    (name, named) = heard.pop()
    assert (name, named["expired"], named["terminated"]) == ("task_revoked", True, False)
    send.send_task("no.such")
    worker.run()
    (name, named) = heard.pop()
    assert (name, named["name"], named["id"]) == ("task_unknown", "no.such", sent[-1].task_id)
    worker.run(body="{")
    assert heard.pop()[0] == "task_unknown"
    late.delay()
    worker.run(body="{")
    assert heard.pop()[0] == "task_rejected"
    assert heard == []


def test_task_that_ends_when_it_is_asked_to_was_terminated_and_has_not_expired(
    sent: list[Envelope], worker: Worker, told: Any, heard: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def end() -> None:
        raise TaskTerminated("terminated")

    told(end).delay()
    assert worker.run().state == states.REVOKED
    (named,) = [named for name, named in heard if name == "task_revoked"]
    assert (named["terminated"], named["signum"], named["expired"]) == (True, None, False)
    assert "expired" not in caplog.text


def test_internal_error_of_taskq_sends_task_internal_error(
    sent: list[Envelope], worker: Worker, told: Any, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told(lambda: None).delay()
    monkeypatch.setattr("taskq.messages.protocol.read_headers", lambda raw: 1 / 0)
    assert worker.run().state == states.FAILURE
    ((name, named),) = heard
    assert name == "task_internal_error"
    assert isinstance(named["exception"], ZeroDivisionError)


class Broken(Task[[bool], str]):
    name = "broken"

    def run(self, fail: bool) -> str:
        if fail:
            raise ValueError("boom")
        return "well"

    def on_success(self, *args: Any) -> None:
        raise RuntimeError("on_success")

    def on_failure(self, *args: Any) -> None:
        raise SystemExit(1)

    def after_return(self, *args: Any) -> None:
        raise KeyboardInterrupt


def test_exceptions_in_handlers_and_receivers_change_no_outcome(
    sent: list[Envelope], worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    def receiver(**named: Any) -> None:
        raise RuntimeError("receiver")

    for signal in (signals.task_prerun, signals.task_success, signals.task_failure, signals.task_postrun):
        signal.connect(receiver)
    try:
        broken = register(Broken)
        broken.delay(False)
        assert worker.run().result == '"well"'
        broken.delay(True)
        outcome = worker.run()
    finally:
        for signal in (signals.task_prerun, signals.task_success, signals.task_failure, signals.task_postrun):
            signal.disconnect(receiver)
    assert outcome.state == states.FAILURE
    assert "boom" in (outcome.result or "")
    logged = caplog.text
    assert "on_success of broken[" in logged
    assert "on_failure of broken[" in logged
    assert logged.count("after_return of broken[") == 2
    assert "receiver" in logged


def test_exception_in_before_start_fails_the_task(sent: list[Envelope], worker: Worker) -> None:
    class Refusing(Task[[], None]):
        name = "refusing"

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            raise PermissionError("not today")

        def run(self) -> None:
            raise AssertionError("must not run")

    register(Refusing).delay()
    assert "PermissionError" in (worker.run().result or "")
