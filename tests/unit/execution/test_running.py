"""What a task may ask for while it runs: reports of its state, its own events, a hearing for its soft limit."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.test import override_settings

from taskq import states
from taskq.exceptions import EncodeError, SoftTimeLimitExceeded
from taskq.records import Envelope
from taskq.results.async_result import AsyncResult
from taskq.worker.pools.soft_limits import signal_limit, thread_limit
from tests.unit.execution.outcomes import add, define, error_of
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]


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


def test_update_state_and_send_event_in_a_direct_call_do_nothing(sent: list[Envelope]) -> None:
    def run(self: Any) -> str:
        self.update_state(state="PROGRESS")
        self.send_event("task-progress", done=1)
        return "went on"

    assert define(run, bind=True)() == "went on"
    assert sent == []


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
