"""What comes out of ``execute``, for everything that can go in."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.test import override_settings

from taskq import signals, states, task
from taskq.exceptions import EncodeError, Ignore, Reject, SoftTimeLimitExceeded, TaskqError
from taskq.execution import execute
from taskq.handover import Outcome
from taskq.messages import protocol
from taskq.messages.values import decode_exception
from taskq.records import NO_FOLLOW_UPS, Envelope
from taskq.results.async_result import AsyncResult
from taskq.sending import send
from taskq.worker.pools.soft_limits import signal_limit, thread_limit
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]


@task
def add(x: int, y: int) -> int:
    return x + y


def error_of(outcome: Outcome) -> BaseException:
    assert outcome.state in states.EXCEPTION_STATES, outcome
    return decode_exception(outcome.result)


def define(function: Any, name: str = "defined", **options: Any) -> Any:
    return task(name=name, **options)(function)


def raiser(error: BaseException) -> Any:
    def run() -> None:
        raise error

    return run


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


# -- what a task may ask for


def test_started_is_reported_when_tracked(sent: list[Envelope], worker: Worker) -> None:
    define(lambda: None, track_started=True).delay()
    worker.run()
    (report,) = worker.reports
    assert (report.job, report.task_id, report.state) == (7, sent[0].task_id, "STARTED")
    assert json.loads(report.meta or "") == {"pid": os.getpid(), "hostname": "w1@host"}
    with override_settings(TASKQ_TRACK_STARTED=True):
        add.delay(1, 2)
        worker.run()
    assert len(worker.reports) == 2


def test_update_state_reports_own_progress_and_refuses_anything_else(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any) -> None:
        self.update_state(state="PROGRESS", meta={"done": 1})
        self.update_state(self.request.id, meta=2)
        with pytest.raises(ValueError, match="'another' does not run in this one"):
            self.update_state("another", "PROGRESS")
        with pytest.raises(ValueError, match="return a value"):
            self.update_state(state="SUCCESS")
        with pytest.raises(
            EncodeError, match=r"meta of update_state\(\), of type dict, can't be stored .*Use plain data"
        ):
            self.update_state(state="PROGRESS", meta={"done": object()})

    moving = define(run, bind=True)
    moving.delay()
    assert worker.run().state == states.SUCCESS
    assert [(report.state, report.meta) for report in worker.reports] == [("PROGRESS", '{"done": 1}'), ("STARTED", "2")]


def test_update_state_in_a_direct_call_does_nothing() -> None:
    define(lambda self: self.update_state(state="PROGRESS"), bind=True)()
    define(lambda self: self.send_event("task-progress", done=1), bind=True)()


def test_send_event_reports_its_fields_and_refuses_anything_else(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any) -> None:
        self.send_event("task-progress", done=1, uuid="another", clock=7)
        in_thread(self.send_event, "shop-sold")
        for kind in ("progress", "", "task-", "task progress", "task-a.b", 3, None, "task-" + "x" * 100):
            with pytest.raises(ValueError, match="a type is two words or more"):
                self.send_event(kind)
        with pytest.raises(ValueError, match=r"the fields have .* characters as JSON, 65,536 at most"):
            self.send_event("task-progress", text="x" * 65_536)
        with pytest.raises(EncodeError, match=r"the fields of send_event\(\), of type dict, can't be stored"):
            self.send_event("task-progress", done=object())

    moving = define(run, bind=True)
    moving.delay()
    assert worker.run().state == states.SUCCESS
    assert [(report.event, report.meta, report.state) for report in worker.reports] == [
        ("task-progress", '{"done": 1}', ""), ("shop-sold", "{}", ""),
    ]  # fmt: skip
    assert {report.task_id for report in worker.reports} == {sent[0].task_id}


def in_thread(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call ``function`` in a thread, which starts without context variables."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **kwargs).result()


def test_update_state_from_a_thread_of_the_task_is_reported(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any) -> None:
        in_thread(self.update_state, state="A")
        in_thread(self.update_state, task_id=self.request.id, state="B")
        asyncio.run(asyncio.to_thread(self.update_state, state="C"))

    moving = define(run, bind=True)
    result = moving.delay()
    assert worker.run().state == states.SUCCESS
    assert [(report.task_id, report.state) for report in worker.reports] == [(result.id, state) for state in "ABC"]


def test_update_state_of_another_task_in_the_process_is_reported(sent: list[Envelope], worker: Worker) -> None:
    inner = define(lambda self, of: self.update_state(of, "INNER"), "inner", bind=True)
    outer = define(lambda self: inner(self.request.id), "outer", bind=True)
    result = outer.delay()
    assert worker.run().state == states.SUCCESS
    assert [(report.task_id, report.state) for report in worker.reports] == [(result.id, "INNER")]


def test_update_state_without_a_run_is_refused(sent: list[Envelope], worker: Worker) -> None:
    moving = define(lambda self: None, bind=True)
    with pytest.raises(RuntimeError, match="does not run here, so task_id= must say"):
        moving.update_state(state="PROGRESS")
    result = moving.delay()
    worker.run()
    with pytest.raises(ValueError, match=f"{result.id!r} does not run in this one"):
        moving.update_state(result.id, "PROGRESS")


def test_update_state_from_a_thread_of_one_of_several_runs_needs_the_id(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any, again: bool) -> None:
        if again:
            self.apply((False,), throw=True)
        else:
            with pytest.raises(RuntimeError, match="runs 2 times in this process"):
                in_thread(self.update_state, state="A")

    define(run, bind=True).delay(True)
    assert worker.run().state == states.SUCCESS
    assert worker.reports == []


def test_waiting_within_a_task_is_refused(sent: list[Envelope], worker: Worker) -> None:
    define(lambda: AsyncResult("other").get()).delay()
    error = error_of(worker.run())
    assert isinstance(error, RuntimeError)
    assert "Never call result.get() within a task" in str(error)


def test_returned_async_result_is_stored_as_its_tuple(sent: list[Envelope], worker: Worker) -> None:
    define(lambda: AsyncResult("other")).delay()
    assert worker.run().result == '[["other", null], null]'


def test_own_call_method_wraps_run_and_keeps_the_request(sent: list[Envelope], worker: Worker) -> None:
    from taskq import Task, register

    class Counting(Task[[int], str]):
        name = "counting"

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return "called " + super().__call__(*args, **kwargs)

        def run(self, again: int) -> str:
            direct = self.request.called_directly
            return f"{direct} {self(0)}" if again else str(direct)

    register(Counting).delay(1)
    assert json.loads(worker.run().result or "") == "called False called True"


def test_soft_limit_can_be_handled_by_the_task_or_fails_it(sent: list[Envelope], worker: Worker) -> None:
    def spin() -> str:
        try:
            while True:
                pass
        except SoftTimeLimitExceeded:
            return "tidied up"

    define(spin, "tidy").delay()
    for limit in (signal_limit, thread_limit):
        assert worker.run(soft_limit=limit, soft_time_limit=0.05).result == '"tidied up"'

    def forever() -> None:
        while True:
            pass

    define(forever).delay()
    outcome = worker.run(soft_limit=signal_limit, soft_time_limit=0.05)
    assert isinstance(error_of(outcome), SoftTimeLimitExceeded)


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
