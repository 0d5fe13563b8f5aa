from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings

from taskq import register, states, task
from taskq.exceptions import Ignore, MaxRetriesExceededError, Retry
from taskq.handover import Outcome
from taskq.messages.values import decode_exception
from taskq.records import Envelope
from taskq.tasks.retrying import backoff
from taskq.tasks.task import Task

from .fixtures import Worker


def failing(*args: Any, **kwargs: Any) -> None:
    raise ValueError("boom")


def error_of(outcome: Outcome) -> BaseException:
    assert outcome.state in states.EXCEPTION_STATES, outcome
    return decode_exception(outcome.result)


def retrying(name: str = "retrying", options: Any = None, **arguments: Any) -> Any:
    """Return a task that retries when its ``ValueError`` comes."""

    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            failing()
        except ValueError as error:
            raise self.retry(**({"exc": error} | arguments)) from None

    return task(bind=True, name=name, **(options or {}))(run)


def test_retry_keeps_the_message(sent: list[Envelope], worker: Worker) -> None:
    retrying().apply_async(
        (1,), {"k": 2}, queue="q", priority=6, headers={"tenant": "a"}, expires=6000, time_limit=90,
        ignore_result=False, group_id="g", root_id="r",
    )  # fmt: skip
    outcome = worker.run(redelivered=True)
    again = worker.follow_up(outcome)
    first = sent[0]
    assert outcome.state == states.RETRY
    assert repr(error_of(outcome)) == "ValueError('boom')"
    assert "boom" in (outcome.traceback or "")
    assert (again.task_id, again.queue, again.priority, again.expires) == (first.task_id, "q", 6, first.expires)
    assert again.body == first.body
    assert again.headers["retries"] == 1
    assert 179 < again.delay <= 180
    for header in ("tenant", "group", "root_id", "timelimit", "expires", "argsrepr"):
        assert again.headers[header] == first.headers[header]
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ({"countdown": timedelta(minutes=1)}, "Retry in 60s: ValueError('boom')"),
        ({"eta": "2040-01-01T00:00:00Z"}, "Retry at 2040-01-01T00:00:00Z: ValueError('boom')"),
    ],
)
def test_countdown_as_timedelta_and_eta_as_text_are_taken_and_logged(
    sent: list[Envelope], worker: Worker, caplog: pytest.LogCaptureFixture, time: Any, shown: str
) -> None:
    retrying(**time).delay()
    with caplog.at_level("INFO"):
        again = worker.follow_up(worker.run())
    assert again.headers["eta"]
    assert shown in caplog.text


def test_retries_are_counted_until_the_task_fails(sent: list[Envelope], worker: Worker) -> None:
    retrying(options={"max_retries": 2}, countdown=1.5).delay()
    outcome = worker.run()
    for retries in (1, 2):
        again = worker.follow_up(outcome)
        assert again.headers["retries"] == retries
        assert again.delay == pytest.approx(1.5, abs=0.1)
        outcome = worker.run(again)
    assert outcome.state == states.FAILURE
    assert repr(error_of(outcome)) == "ValueError('boom')"
    assert not outcome.follow_ups


def test_retry_without_an_exception_fails_with_max_retries_exceeded(sent: list[Envelope], worker: Worker) -> None:
    retrying("r", exc=None, max_retries=0).delay(1, k=2)
    error = error_of(worker.run())
    assert isinstance(error, MaxRetriesExceededError)
    assert str(error) == f"Can't retry r[{sent[0].task_id}] args:(1,) kwargs:{{'k': 2}}"


def test_max_retries_none_retries_without_end(sent: list[Envelope], worker: Worker) -> None:
    retrying(options={"max_retries": None}).apply_async(retries=1000)
    assert worker.run().state == states.RETRY


def test_retry_may_change_arguments_time_queue_and_headers(sent: list[Envelope], worker: Worker) -> None:
    eta = datetime.now(UTC) + timedelta(hours=1)
    retrying(args=(5,), kwargs={}, eta=eta, queue="other", priority=1, headers={"x": 1}, time_limit=5).delay(1, k=2)
    again = worker.follow_up(worker.run())
    assert json.loads(again.body)[:2] == [[5], {}]
    assert again.headers["eta"] == eta.isoformat()
    assert 3590 < again.delay <= 3600
    assert (again.queue, again.routing_key, again.priority) == ("other", "other", 1)
    assert (again.headers["x"], again.headers["timelimit"]) == (1, [5, None])
    assert again.headers["argsrepr"] == "(5,)"


def test_unknown_retry_options_fail_the_task(sent: list[Envelope], worker: Worker) -> None:
    retrying(qeue="x").delay()
    assert "did you mean 'queue'" in str(error_of(worker.run()))


def test_throw_false_retries_when_the_task_returns(sent: list[Envelope], worker: Worker) -> None:
    seen: list[Retry] = []

    @task(bind=True)
    def soft(self: Any, fail: bool) -> str:
        seen.append(self.retry(throw=False, countdown=3))
        if fail:
            failing()
        return "done"

    soft.delay(False)
    outcome = worker.run()
    assert outcome.state == states.RETRY
    assert str(seen[0]) == "Retry in 3s"
    assert isinstance(error_of(outcome), Retry)
    assert worker.follow_up(outcome).headers["retries"] == 1
    soft.delay(True)
    failed = worker.run()
    assert failed.state == states.FAILURE
    assert not failed.follow_ups


def test_retry_exception_raised_by_hand_retries(sent: list[Envelope], worker: Worker) -> None:
    @task(max_retries=1)
    def by_hand() -> None:
        raise Retry(exc=KeyError("why"), when=5)

    by_hand.delay()
    outcome = worker.run()
    again = worker.follow_up(outcome)
    assert again.delay == pytest.approx(5, abs=0.1)
    assert repr(error_of(outcome)) == "KeyError('why')"
    assert repr(error_of(worker.run(again))) == "KeyError('why')"


def test_retry_outside_of_a_worker_raises_the_exception() -> None:
    with pytest.raises(ValueError, match="boom"):
        retrying()()
    with pytest.raises(Retry, match="can be retried"):
        task(bind=True, name="alone")(lambda self: self.retry())()
    with pytest.raises(ValueError, match="boom"):
        retrying(exc=None)()


def test_sensitive_arguments_of_a_retry_stay_masked(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any, user: str, password: str) -> None:
        raise self.retry(args=(user, "secret2"))

    task(bind=True, name="login", sensitive=("password",))(run).delay("ann", "secret1")
    again = worker.follow_up(worker.run())
    assert "secret2" in again.body
    assert "secret" not in str(again.headers)
    assert "secret" not in (again.arguments or "")


# -- retries that a task makes by itself


def by_itself(**options: Any) -> Any:
    return task(name="by_itself", **({"autoretry_for": (ValueError,)} | options))(failing)


def test_autoretry_retries_and_then_fails_with_the_exception(sent: list[Envelope], worker: Worker) -> None:
    by_itself(max_retries=1).delay()
    outcome = worker.run()
    again = worker.follow_up(outcome)
    assert outcome.state == states.RETRY
    assert repr(error_of(outcome)) == "ValueError('boom')"
    assert 179 < again.delay <= 180
    last = worker.run(again)
    assert last.state == states.FAILURE
    assert repr(error_of(last)) == "ValueError('boom')"
    assert "taskq/tasks" not in (last.traceback or "")


def test_autoretry_only_for_the_exceptions_that_are_named(sent: list[Envelope], worker: Worker) -> None:
    by_itself(autoretry_for=(KeyError,)).delay()
    assert worker.run().state == states.FAILURE
    by_itself(autoretry_for=(Exception,), dont_autoretry_for=(ValueError,)).delay()
    assert worker.run().state == states.FAILURE


@pytest.mark.parametrize("options", [{}, {"retry_kwargs": {"max_retries": 5}}, {"retry_backoff": True}])
def test_autoretry_keeps_to_the_limit_that_retry_was_given(sent: list[Envelope], worker: Worker, options: Any) -> None:
    def run(self: Any) -> None:
        raise self.retry(exc=ValueError("enough"), max_retries=1)

    task(bind=True, name="limited", autoretry_for=(ValueError,), max_retries=10, **options)(run).delay()
    again = worker.follow_up(worker.run())
    outcome = worker.run(again)
    assert (outcome.state, repr(error_of(outcome))) == (states.FAILURE, "ValueError('enough')")


def test_autoretry_keeps_to_that_limit_for_a_later_exception_of_the_run(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any) -> None:
        with contextlib.suppress(KeyError):
            self.retry(exc=KeyError(), max_retries=0)
        failing()

    task(bind=True, name="late", autoretry_for=(ValueError,))(run).delay()
    assert worker.run().state == states.FAILURE
    task(bind=True, name="early", autoretry_for=(ValueError,))(lambda self: failing()).delay()
    assert worker.run().state == states.RETRY


def test_autoretry_keeps_the_next_try_that_the_task_has_planned(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any) -> None:
        self.retry(throw=False, countdown=50, queue="slow")
        failing()

    task(bind=True, name="planned", autoretry_for=(ValueError,), default_retry_delay=1)(run).delay()
    again = worker.follow_up(worker.run())
    assert (again.queue, again.delay) == ("slow", pytest.approx(50, abs=1))


@pytest.mark.parametrize(
    ("sent_args", "sent_kwargs", "again", "wanted"),
    [
        ((), {"x": 1, "z": 3}, {"args": (10,)}, [10, None, [], {"z": 3}]),
        ((), {"x": 1, "y": 2}, {"args": (10, 20)}, [10, 20, [], {}]),
        ((), {"x": 1, "y": 2}, {"args": ()}, [1, 2, [], {}]),
        ((1, 2, 3), {}, {"kwargs": {"y": 20, "z": 30}}, [1, 20, [3], {"z": 30}]),
        ((1,), {"y": 2, "z": 3}, {"kwargs": {"y": 20}}, [1, 20, [], {}]),
        ((1, 2), {"z": 3}, {"args": (10,), "kwargs": {}}, [10, None, [], {}]),
    ],
)
def test_argument_of_a_retry_takes_the_place_of_its_parameter(
    sent: list[Envelope], worker: Worker, sent_args: Any, sent_kwargs: Any, again: Any, wanted: Any
) -> None:
    def run(self: Any, x: Any, y: Any = None, *rest: Any, **more: Any) -> Any:
        if self.request.retries:
            return [x, y, rest, more]
        raise self.retry(**again)

    task(bind=True, name="changing")(run).apply_async(sent_args, sent_kwargs)
    outcome = worker.run(worker.follow_up(worker.run()))
    assert outcome.state == states.SUCCESS, outcome.traceback
    assert json.loads(outcome.result or "") == wanted


def test_name_of_a_positional_only_parameter_is_a_keyword_besides(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any, x: Any, /, **more: Any) -> Any:
        if self.request.retries:
            return [x, more]
        raise self.retry(args=(10,)) if "x" in more else self.retry(kwargs={"x": 20})

    both = task(bind=True, name="both")(run)
    both.delay(1, x=2)
    assert json.loads(worker.run(worker.follow_up(worker.run())).result or "") == [10, {"x": 2}]
    both.delay(1)
    assert json.loads(worker.run(worker.follow_up(worker.run())).result or "") == [1, {"x": 20}]


def test_exception_of_no_more_retries_is_the_attribute_of_the_task(sent: list[Envelope], worker: Worker) -> None:
    class Enough(MaxRetriesExceededError):
        pass

    class Patient(Task[..., Any]):
        MaxRetriesExceededError = Enough

    def run(self: Any) -> str:
        try:
            self.retry(max_retries=0)
        except self.MaxRetriesExceededError as error:
            return type(error).__name__
        return ""

    task(bind=True, name="plain")(run).delay()
    assert worker.run().result == '"MaxRetriesExceededError"'
    task(bind=True, name="patient", base=Patient)(run).delay()
    assert worker.run().result == '"Enough"'


def test_autoretry_leaves_ignore_alone(sent: list[Envelope], worker: Worker) -> None:
    def ignore() -> None:
        raise Ignore

    task(name="ignore", autoretry_for=(Exception,))(ignore).delay()
    assert worker.run().state == states.IGNORED


def test_retry_kwargs_are_used_and_not_changed(sent: list[Envelope], worker: Worker) -> None:
    kwargs = {"max_retries": 5, "countdown": 9}
    by_itself(retry_kwargs=kwargs, retry_backoff=True, retry_jitter=False).apply_async(retries=3)
    assert worker.follow_up(worker.run()).delay == pytest.approx(8, abs=0.1)
    assert kwargs == {"max_retries": 5, "countdown": 9}
    by_itself(retry_kwargs=kwargs).apply_async(retries=4)
    assert worker.follow_up(worker.run()).delay == pytest.approx(9, abs=0.1)
    by_itself(retry_kwargs=kwargs).apply_async(retries=5)
    assert worker.run().state == states.FAILURE
    late = by_itself()
    late.retry_kwargs = {"nonsense": 1}
    late.delay()
    assert "nonsense" in str(error_of(worker.run()))


def test_backoff_doubles_up_to_a_maximum_with_jitter() -> None:
    assert [backoff(1, n, 600, jitter=False) for n in range(5)] == [1, 2, 4, 8, 16]
    assert backoff(2.5, 2, 600, jitter=False) == 10
    assert backoff(1, 10_000, 600, jitter=False) == 600
    waits = [backoff(1, 3, 600, jitter=True) for _ in range(200)]
    assert all(0 <= wait <= 8 for wait in waits)
    assert len(set(waits)) > 100


def test_class_with_autoretry_calls_on_retry_and_runs_again(sent: list[Envelope], worker: Worker) -> None:
    seen: list[Any] = []

    class Flaky(Task[[], str]):
        autoretry_for = (ValueError,)

        def run(self) -> str:
            if self.request.retries == 0:
                failing()
            return "well"

        def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            seen.append((repr(exc), task_id, "boom" in str(einfo)))

    register(Flaky).delay()
    with override_settings(TASKQ_DEFAULT_RETRY_DELAY=0):
        again = worker.follow_up(worker.run())
    assert again.delay == 0
    assert seen == [("ValueError('boom')", sent[0].task_id, True)]
    assert json.loads(worker.run(again).result or "") == "well"
