"""Workers whose tasks run on one event loop: each task has its own surroundings, and ends alone."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from taskq import AsyncResult, ids
from taskq.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from taskq.models import Attempt, Message
from testproject.arithmetic.tasks import add
from tests.support import trees, workers
from tests.support.databases import Database
from tests.support.jobs import coroutines, endings, tasks
from tests.support.processes import Process, Processes
from tests.support.told import started, told
from tests.support.waiting import wait_until

pytestmark = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def worker(module_processes: Processes) -> Iterator[Process]:
    """A worker that runs 30 tasks at a time."""
    environment = {"CONN_MAX_AGE": "600"}
    worker = workers.start_worker(module_processes, "-P", "asyncio", "-c", "30", environment=environment)
    yield worker
    assert worker.stop() == 0, worker.log


@pytest.fixture(autouse=True)
def _unblocked(worker: Process, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def test_coroutines_run_at_the_same_time_in_one_process(worker: Process) -> None:
    results = coroutines.meet.delay_many([(30,)] * 30)
    assert [result.get(timeout=60) for result in results] == [30] * 30
    assert "concurrency: 30 (asyncio)" in worker.log


def test_each_task_has_its_own_surroundings(worker: Process) -> None:
    wanted = [(language, zone) for language in ("de", "fr", "nl") for zone in ("Asia/Tokyo", "America/Lima")]
    results = coroutines.surroundings.delay_many(wanted * 4)
    for result, (language, zone) in zip(results, wanted * 4, strict=True):
        assert result.get(timeout=60) == [result.id, result.id, language, zone]
    assert f"coroutines.surroundings[{results[0].id}]" in worker.log


def test_orm_runs_in_threads_whose_connections_are_kept(worker: Process) -> None:
    found = [coroutines.ask_database.delay(3).get(timeout=60) for _ in range(3)]
    for threads, loop in found:
        assert len(threads) == 1, "one thread and one connection a task"
        assert threads[0].startswith("taskq-")
        assert loop == "MainThread"
    assert found[0] == found[1] == found[2], "the next task uses them again"


def test_transaction_that_a_coroutine_leaves_open_is_rolled_back(worker: Process) -> None:
    left = coroutines.leave_transaction_open.delay()
    assert left.get(timeout=60) is None
    assert len(coroutines.ask_database.delay(1).get(timeout=60)[0]) == 1
    wait_until(lambda: f"[{left.id}] left a transaction" in worker.log, what="the warning")


def test_endings(worker: Process) -> None:
    assert endings.square.delay(7).get(timeout=60) == 49
    assert add.delay(2, 2).get(timeout=60) == 4
    assert coroutines.retry_twice.delay().get(timeout=60) == 2
    with pytest.raises(LookupError, match="nowhere"):
        endings.fail_async.delay().get(timeout=60)
    with pytest.raises(TypeError):
        coroutines.pause.delay("a", "b").get(timeout=60)
    assert coroutines.wait_for_another.delay(0.01).get(timeout=60) == "rested"


def test_handlers_may_use_the_database(worker: Process, notes: Path) -> None:
    assert coroutines.handled.delay(str(notes)).get(timeout=60) == "handled"
    wait_until(lambda: told(notes) == ["before", "success"], what="the handlers")


def test_soft_limit_is_raised_in_the_coroutine(worker: Process) -> None:
    assert coroutines.soft_limited.delay(True).get(timeout=60) == "ended in time"
    with pytest.raises(SoftTimeLimitExceeded):
        coroutines.soft_limited.delay(False).get(timeout=60)
    assert endings.soft_limit_in_python.delay(True).get(timeout=60) == "ended in time"


@pytest.mark.parametrize("task", [coroutines.run_until, coroutines.in_thread])
def test_hard_limit_ends_the_task_and_no_other(worker: Process, notes: Path, go_on: Path, task: object) -> None:
    child, other = trees.pool_child(worker.pid), coroutines.run_until.delay(str(notes), str(go_on))
    started(notes)
    limited = task.apply_async((str(notes), "/never"), time_limit=0.3)  # type: ignore[attr-defined]
    with pytest.raises(TimeLimitExceeded):
        limited.get(timeout=60)
    go_on.touch()
    assert other.get(timeout=60) == "done"
    assert trees.pool_child(worker.pid) == child


def test_terminate_ends_the_task_and_no_other(worker: Process, notes: Path, go_on: Path) -> None:
    child = trees.pool_child(worker.pid)
    results = [coroutines.run_until.delay(str(notes), str(go_on)) for _ in range(3)]
    started(notes, 3)
    results[1].revoke(terminate=True)
    with pytest.raises(TaskRevokedError, match="terminated"):
        results[1].get(timeout=60)
    assert told(notes)[3:] == ["CancelledError"]
    go_on.touch()
    assert [results[0].get(timeout=60), results[2].get(timeout=60)] == ["done", "done"]
    assert trees.pool_child(worker.pid) == child


def test_coroutines_that_a_task_leaves_are_cancelled(worker: Process, notes: Path) -> None:
    assert coroutines.leave_behind.delay(str(notes)).get(timeout=60) == "done"
    assert told(notes) == ["cancelled"]
    assert coroutines.tasks_of_loop.delay().get(timeout=60) == []


@pytest.mark.parametrize("in_another", [False, True])
def test_task_can_not_end_the_process_of_others(worker: Process, in_another: bool) -> None:
    child = trees.pool_child(worker.pid)
    with pytest.raises(WorkerLostError, match="end its worker"):
        coroutines.exit_process.delay(in_another).get(timeout=60)
    assert trees.pool_child(worker.pid) == child


def test_progress_is_written_while_the_task_runs(worker: Process, notes: Path, go_on: Path) -> None:
    result = coroutines.tell_progress.delay(str(notes), str(go_on))
    wait_until(lambda: result.state == "HALFWAY", what="the state")
    go_on.touch()
    assert result.get(timeout=60) == "done"


def test_task_that_blocks_the_loop_costs_its_child_and_no_start_of_others(
    worker: Process, notes: Path, go_on: Path, tmp_path: Path, database: Database
) -> None:
    child, other = trees.pool_child(worker.pid), coroutines.run_until.delay(str(notes), str(go_on))
    started(notes)
    blocker = coroutines.block.apply_async((str(notes), 600), time_limit=0.2)
    with pytest.raises(TimeLimitExceeded):
        blocker.get(timeout=60)
    go_on.touch()
    assert other.get(timeout=60) == "done"
    assert trees.pool_child(worker.pid) != child
    (attempt,) = Attempt.objects.using(database.alias).filter(task_id=other.id)
    assert "this start is not counted" in str(vars(attempt))


def test_killed_child_is_replaced_and_its_tasks_run_again(worker: Process, notes: Path, go_on: Path) -> None:
    results = [coroutines.run_until.delay(str(notes), str(go_on)) for _ in range(5)]
    started(notes, 5)
    os.kill(trees.pool_child(worker.pid), signal.SIGKILL)
    started(notes, 10)
    go_on.touch()
    assert [result.get(timeout=60) for result in results] == ["done"] * 5


def test_task_that_kills_the_child_each_time_fails_alone(worker: Process, notes: Path) -> None:
    others = [coroutines.beside_killer.delay(str(notes)) for _ in range(5)]
    killer = coroutines.kill_process.delay(str(notes), [other.id for other in others])
    assert [other.get(timeout=60) for other in others] == ["done"] * 5
    with pytest.raises(WorkerLostError):
        killer.get(timeout=60)


def test_task_is_seen_as_active_with_its_own_start(worker: Process, notes: Path, go_on: Path) -> None:
    from taskq.control import inspect

    results = [coroutines.run_until.delay(str(notes), str(go_on)) for _ in range(2)]
    started(notes, 2)
    (active,) = inspect(timeout=60, limit=1).active().values()
    assert {each["id"] for each in active} == {result.id for result in results}
    assert all(time.time() - each["time_start"] < 60 for each in active)
    go_on.touch()
    assert [AsyncResult(result.id).get(timeout=60) for result in results] == ["done", "done"]


def test_many_short_tasks(worker: Process, notes: Path) -> None:
    results = tasks.note.delay_many([(str(notes), number) for number in range(200)])
    assert [result.get(timeout=60) for result in results] == list(range(200))
    squares = endings.square.delay_many([(number,) for number in range(200)])
    assert [result.get(timeout=60) for result in squares] == [number**2 for number in range(200)]


def test_coroutine_gets_an_argument_that_stays_in_its_row(worker: Process) -> None:
    assert coroutines.length.delay("x" * 1_200_000).get(timeout=60) == 1_200_000


def test_long_chain_of_another_program_goes_on_behind_a_coroutine(worker: Process, database: Database) -> None:
    options = [{"task_id": f"{ids.new_id()}", "queue": "another"} for _ in range(3_000)]
    steps = [{"task": add.name, "args": [2, 2], "kwargs": {}, "options": each, "immutable": True} for each in options]
    task_id = ids.new_id()
    Message.objects.using(database.alias).create(
        queue="taskq",
        task_id=task_id,
        headers=json.dumps({"task": coroutines.length.name, "id": task_id, "lang": "py"}),
        body=json.dumps([["four"], {}, {"chain": steps[::-1]}]),
        properties="{}",
        created_at=datetime.now(UTC),
    )
    add.delay(2, 2)  # it wakes the worker
    assert AsyncResult(task_id).get(timeout=60) == 4
    second = Message.objects.using(database.alias).filter(queue="another")
    assert list(second.values_list("task_id", flat=True)) == [options[0]["task_id"]]
