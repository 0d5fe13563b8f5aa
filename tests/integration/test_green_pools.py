"""Workers whose tasks run in greenlets: each task has its own surroundings, and ends alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from taskq import control
from taskq.exceptions import TaskRevokedError, TimeLimitExceeded, WorkerLostError
from tests.support import trees, workers
from tests.support.green import tasks
from tests.support.processes import Process, Processes
from tests.support.told import started, told
from tests.support.waiting import wait_until

if not (find_spec("gevent") and find_spec("eventlet")):
    pytest.skip("gevent and eventlet are not installed", allow_module_level=True)

#: The app with tasks for greenlets.
ENVIRONMENT = {"TEST_APPS": "tests.support.green"}

pytestmark = pytest.mark.parametrize(
    ("database", "worker"), [("sqlite", "gevent"), ("postgresql", "eventlet")],
    indirect=True, scope="module",
)  # fmt: skip


@pytest.fixture(scope="module")
def worker(module_processes: Processes, request: pytest.FixtureRequest) -> Iterator[Process]:
    """A worker of the pool that is asked for, which runs 30 tasks at a time, 5 of them with the database."""
    worker = workers.start_worker(
        module_processes, "-P", request.param, "-c", "30", environment=ENVIRONMENT, GREEN_DATABASE_CONNECTIONS=5
    )
    yield worker
    assert worker.stop() == 0, worker.log


@pytest.fixture(autouse=True)
def _unblocked(worker: Process, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def test_tasks_run_at_the_same_time_each_with_its_own_surroundings(worker: Process) -> None:
    results = tasks.meet.delay_many([(30,)] * 30)
    assert [result.get(timeout=60) for result in results] == [30] * 30
    wanted = [("de", "Europe/Berlin"), ("fr", "Asia/Tokyo"), ("nl", "America/Lima")] * 4
    found = [r.get(timeout=60) for r in tasks.surroundings.delay_many([(*each, 0.1) for each in wanted])]
    assert [(language, zone) for language, zone, *_ in found] == wanted
    assert {pid for *_, pid in found} == {trees.pool_child(worker.pid)}
    results = tasks.own_id.delay_many([(0.1,)] * 20)
    assert [result.get(timeout=60) for result in results] == [result.id for result in results]
    worker.wait_for_log(rf"\[{results[0].id}\] succeeded")


def test_outcomes(worker: Process, go_on: Path) -> None:
    with pytest.raises(LookupError, match="nothing here"):
        tasks.fail.delay().get(timeout=60)
    with pytest.raises(WorkerLostError, match="tried to end its worker"):
        tasks.leave.delay().get(timeout=60)
    with pytest.raises(RuntimeError, match="can't run async def tasks"):
        tasks.coroutine.delay().get(timeout=60)
    assert "can't run async def tasks, which fail here" in worker.log
    result = tasks.report.delay(str(go_on))
    wait_until(lambda: result.state == "HALFWAY", what="the report")
    go_on.touch()
    assert result.get(timeout=60) == "done"


def test_connections_are_bounded_and_given_back(worker: Process) -> None:
    results = tasks.slow_query.delay_many([(5,)] * 30)
    assert [result.get(timeout=60) for result in results] == [5] * 30


def test_connections_of_threads_that_tasks_start_take_up_no_place_for_ever(worker: Process) -> None:
    results = tasks.query_in_thread.delay_many([()] * 8)
    assert all(result.get(timeout=60) for result in results)


def test_a_timer_that_a_task_leaves_ends_no_other_task(worker: Process) -> None:
    for result in tasks.leave_timer.delay_many([(0.05,)] * 10):
        result.get(timeout=60)
    assert [result.get(timeout=60) for result in tasks.own_id.delay_many([(0.2,)] * 10)]


def test_limits_and_terminate_end_one_task_alone(worker: Process, notes: Path, go_on: Path) -> None:
    child = trees.pool_child(worker.pid)
    other = tasks.wait.delay(str(notes), str(go_on))
    started(notes)
    assert tasks.soft_limited.apply_async((str(notes),), soft_time_limit=0.1).get(timeout=60) == "limit"
    limited_notes = notes.with_name("limited")
    with pytest.raises(TimeLimitExceeded):
        tasks.wait.apply_async((str(limited_notes), str(go_on)), time_limit=0.2).get(timeout=60)
    terminated = tasks.wait.delay(str(notes), str(go_on))
    started(notes, 2)
    terminated.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        terminated.get(timeout=60)
    asked = tasks.end_when_asked.delay(str(notes))
    wait_until(lambda: told(notes).count("started") == 3, what="the third to start")
    control.revoke(asked.id, terminate=True, grace=60)
    assert asked.get(timeout=60) == "asked"
    go_on.touch()
    assert other.get(timeout=60) == "done"
    wait_until(lambda: told(notes).count("CutShort") == 1, what="the terminated task to be told")
    # On a slow machine its limit may come before it begins.
    assert not limited_notes.exists() or told(limited_notes) == ["started", "CutShort"]
    assert trees.pool_child(worker.pid) == child


def test_a_child_that_dies_is_replaced_and_its_tasks_run_again(worker: Process, notes: Path, go_on: Path) -> None:
    results = [tasks.wait.delay(str(notes), str(go_on)) for _ in range(3)]
    started(notes, 3)
    os.kill(trees.pool_child(worker.pid), signal.SIGKILL)
    started(notes, 6)
    go_on.touch()
    assert [result.get(timeout=60) for result in results] == ["done"] * 3


def test_a_task_that_never_waits_costs_its_child_and_no_other_task(worker: Process, notes: Path, go_on: Path) -> None:
    waiting = tasks.wait.delay(str(notes), str(go_on))
    started(notes)
    child = trees.pool_child(worker.pid)
    with pytest.raises(TimeLimitExceeded):
        tasks.spin.apply_async((str(notes), str(go_on) + "-never"), time_limit=0.2).get(timeout=60)
    go_on.touch()
    assert waiting.get(timeout=60) == "done"
    assert trees.pool_child(worker.pid) != child
