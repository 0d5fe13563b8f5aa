"""What comes out of ``execute``, for everything that can go in."""

from __future__ import annotations

import gc
import json
import logging
import threading
import weakref
from typing import Any

import pytest
from django.test import override_settings

from taskq import signals, states
from taskq.exceptions import EncodeError, Ignore, Reject, TaskqError
from taskq.execution import execute
from taskq.handover import Outcome
from taskq.messages import protocol
from taskq.records import NO_FOLLOW_UPS, Envelope
from taskq.sending import send
from taskq.tasks.task import Task
from tests.unit.execution.outcomes import add, define, error_of, raiser
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]


# -- success


def test_success_outcome_has_encoded_result_and_times(sent: list[Envelope], worker: Worker) -> None:
    add.delay(2, 3)
    outcome = worker.run()
    assert (outcome.job, outcome.task_id, outcome.state) == (7, sent[0].task_id, "SUCCESS")
    assert (outcome.result, outcome.content_type) == ("5", "application/json")
    assert (outcome.traceback, outcome.arguments, outcome.children, outcome.follow_ups) == (
        None,
        None,
        None,
        NO_FOLLOW_UPS,
    )
    assert outcome.started > 1e9
    assert 0 <= outcome.runtime < 60
    assert worker.reports == []


def test_ignored_result_is_not_encoded(sent: list[Envelope], worker: Worker) -> None:
    strange = define(lambda: object())
    strange.apply_async(ignore_result=True)
    assert (worker.run().state, worker.run().result) == ("SUCCESS", None)
    define(lambda: 1, ignore_result=True).delay()
    assert worker.run().result is None


def test_message_without_ignore_result_header_follows_the_task_option(sent: list[Envelope], worker: Worker) -> None:
    define(lambda: 1, "quiet", ignore_result=True).delay()
    del sent[0].headers["ignore_result"]
    assert worker.run().result is None


def test_return_value_that_can_not_be_encoded_is_a_failure(sent: list[Envelope], worker: Worker) -> None:
    seen: list[Any] = []
    strange = define(lambda: {1, 2})
    type(strange).on_success = lambda self, *a: seen.append(a)
    type(strange).on_failure = lambda self, exc, *a: seen.append(type(exc).__name__)
    strange.delay()
    outcome = worker.run()
    assert type(error_of(outcome)).__name__ == "EncodeError"
    assert seen == ["EncodeError"]


def test_wanted_arguments_are_encoded_with_sensitive_ones_masked(sent: list[Envelope], worker: Worker) -> None:
    add.delay(2, y=3)
    assert worker.run(want_arguments=True).arguments == '[[2], {"y": 3}]'
    define(lambda user, password: None, sensitive=["password"]).delay("ann", "secret")
    assert json.loads(worker.run(want_arguments=True).arguments or "")[0] == ["ann", "********"]


def test_large_arguments_stay_in_the_process_that_ran_the_task(sent: list[Envelope], worker: Worker) -> None:
    add.delay(2, y="x" * 1024 * 1024)
    assert worker.run(want_arguments=True).arguments is None


@override_settings(TASKQ_MAX_RESULT_SIZE=1000)
def test_result_above_the_limit_is_a_failure_that_names_the_setting(sent: list[Envelope], worker: Worker) -> None:
    define(lambda text: text, "defined", bind=False).delay("x" * 998)
    assert worker.run().state == "SUCCESS"
    for text in ("x" * 999, "\N{GRINNING FACE}" * 90):
        define(lambda text: text, "defined").delay(text)
        error = error_of(worker.run())
        assert isinstance(error, EncodeError)
        assert "TASKQ_MAX_RESULT_SIZE" in str(error)
    define(raiser(ValueError("x" * 2000))).delay()
    assert "TASKQ_MAX_RESULT_SIZE" in str(error_of(worker.run()))
    with override_settings(TASKQ_MAX_RESULT_SIZE=None):
        define(lambda text: text, "defined").delay("x" * 999)
        assert worker.run().state == "SUCCESS"


# -- failure


def test_failure_outcome_has_exception_and_traceback_of_the_task(sent: list[Envelope], worker: Worker) -> None:
    define(raiser(ValueError("boom", 3))).delay()
    outcome = worker.run()
    assert json.loads(outcome.result or "") == {
        "exc_type": "ValueError",
        "exc_message": ["boom", 3],
        "exc_module": "builtins",
    }
    assert outcome.traceback is not None
    assert outcome.traceback.startswith("Traceback (most recent call last):\n")
    assert outcome.traceback.endswith("ValueError: ('boom', 3)\n")
    assert "taskq/worker" not in outcome.traceback


def test_wrong_arguments_fail_with_type_error(sent: list[Envelope], worker: Worker) -> None:
    add.delay(2)  # type: ignore[call-arg]
    error = error_of(worker.run())
    assert isinstance(error, TypeError)
    assert "missing 1 required positional argument: 'y'" in str(error)


class Malicious(Exception):
    def __init__(self, first: Any, second: Any) -> None:
        super().__init__(first, second)

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_exception_without_repr_or_encodable_args_is_a_failure(sent: list[Envelope], worker: Worker) -> None:
    define(raiser(Malicious(threading.Lock(), 1))).delay()
    outcome = worker.run()
    assert outcome.state == states.FAILURE
    assert json.loads(outcome.result or "")["exc_type"] == "Malicious"
    assert "Malicious" in (outcome.traceback or "")


def test_deep_recursion_fails_with_a_bounded_traceback(sent: list[Envelope], worker: Worker) -> None:
    def down() -> None:
        down()

    define(down).delay()
    outcome = worker.run()
    assert isinstance(error_of(outcome), RecursionError)
    assert len(outcome.traceback or "") < 70_000


def test_base_exceptions_are_failures(sent: list[Envelope], worker: Worker) -> None:
    define(raiser(GeneratorExit("x"))).delay()
    error = error_of(worker.run())
    # Not what it was: raised by get(), it would end whatever reads the result.
    assert isinstance(error, TaskqError)
    assert str(error) == "The task raised GeneratorExit('x')."


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt(3)])
def test_exit_ends_the_process_in_main_thread_and_fails_task_in_others(
    sent: list[Envelope], worker: Worker, end: BaseException
) -> None:
    define(raiser(end)).delay()
    with pytest.raises(type(end)):
        worker.run()
    ended: list[Outcome] = []
    thread = threading.Thread(target=lambda: ended.append(worker.run()))
    thread.start()
    thread.join()
    error = error_of(ended[0])
    assert type(error).__name__ == "WorkerLostError"
    assert repr(end) in str(error)


def test_ignore_and_reject_set_state_and_requeue(sent: list[Envelope], worker: Worker) -> None:
    define(raiser(Ignore())).delay()
    outcome = worker.run()
    assert (outcome.state, outcome.result) == (states.IGNORED, None)
    define(raiser(Reject("later", requeue=True))).delay()
    outcome = worker.run()
    assert (outcome.state, outcome.requeue) == (states.REJECTED, True)
    define(raiser(Reject("never"))).delay()
    outcome = worker.run()
    assert (outcome.state, outcome.requeue) == (states.FAILURE, False)
    assert json.loads(outcome.result or "")["exc_message"] == ["never", False]


def test_raised_exception_keeps_no_frame_locals_alive(sent: list[Envelope], worker: Worker) -> None:
    class Large:
        pass

    kept: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        large = Large()
        kept.append(weakref.ref(large))
        try:
            raise KeyError("cause")
        except KeyError as error:
            failure = ValueError("boom")
            errors.append(failure)
            raise failure from error

    define(run).delay()
    worker.run()
    gc.collect()
    assert kept[0]() is None
    assert errors[0].__traceback__ is None


@pytest.mark.parametrize("fails", [False, True])
def test_ended_run_is_freed_without_the_garbage_collector(sent: list[Envelope], worker: Worker, fails: bool) -> None:
    kept: list[Any] = []

    def run(self: Task[..., Any]) -> None:
        self.update_state(state="PROGRESS")
        kept.append(weakref.ref(self.request))
        if fails:
            raise ValueError

    # An expected exception: the test's log would keep the frames of another.
    define(run, bind=True, throws=(ValueError,)).delay()
    gc.disable()
    try:
        worker.run()
        assert kept[0]() is None
    finally:
        gc.enable()


# -- messages that can't be run


def test_unknown_task_fails_with_not_registered(sent: list[Envelope], worker: Worker) -> None:
    send.send_task("no.such.task")
    outcome = worker.run()
    assert json.loads(outcome.result or "") == {
        "exc_type": "NotRegistered",
        "exc_message": ["no.such.task"],
        "exc_module": "celery.exceptions",
    }


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"body": "{"}, "DecodeError"),
        ({"body": "[1]"}, "InvalidTaskError"),
        ({"body": "[[], [], {}]"}, "InvalidTaskError"),
        ({"headers": "{"}, "DecodeError"),
        ({"headers": "[]"}, "DecodeError"),
        ({"headers": '{"id": "a"}'}, "InvalidTaskError"),
        ({"content_type": "application/x-python-serialize"}, "ContentDisallowed"),
        ({"content_type": "text/unheard-of"}, "ContentDisallowed"),
    ],
)
def test_malformed_message_fails_with_its_error(sent: list[Envelope], worker: Worker, changes: Any, error: str) -> None:
    add.delay(1, 2)
    outcome = worker.run(**changes)
    assert outcome.state == states.FAILURE
    assert outcome.task_id == sent[0].task_id
    assert json.loads(outcome.result or "")["exc_type"] == error


def test_expired_message_is_revoked(sent: list[Envelope], worker: Worker) -> None:
    add.apply_async((1, 2), expires=-1)
    outcome = worker.run()
    assert outcome.state == states.REVOKED
    assert json.loads(outcome.result or "")["exc_message"] == ["expired"]


# -- logging


def test_outcomes_are_logged_by_level(sent: list[Envelope], worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskq.worker")
    add.delay(1, 2)
    worker.run()
    task_id = sent[-1].task_id
    define(raiser(ValueError("boom")), "bad").delay()
    worker.run()
    define(raiser(KeyError("known")), "known", throws=(KeyError,)).delay()
    worker.run()
    first, second, third = caplog.records
    assert first.getMessage().startswith(f"Task {add.name}[{task_id}] succeeded in 0.")
    assert first.getMessage().endswith("s: 3")
    assert second.levelno == logging.ERROR
    assert second.getMessage().endswith("raised unexpected: ValueError('boom')")
    assert second.exc_info is not None
    assert (third.levelno, third.exc_info) == (logging.INFO, None)


def test_task_signals_have_no_receivers_by_default(sent: list[Envelope], worker: Worker) -> None:
    for signal in (signals.task_prerun, signals.task_postrun, signals.task_success):
        assert not signal.receivers


def test_message_with_only_task_and_id_headers_runs(sent: list[Envelope], worker: Worker) -> None:
    headers = {"task": add.name, "id": "a"}
    envelope = protocol.build(name=add.name, queue="taskq", args=(1, 2), task_id="a")
    envelope.headers = headers
    assert worker.run(envelope).result == "3"


def test_execute_works_without_a_report_callback(sent: list[Envelope], worker: Worker) -> None:
    define(lambda self: self.update_state(state="X"), bind=True, track_started=True).delay()
    assert execute(worker.delivery()).state == states.SUCCESS
