"""Whole workers, one for each pool: ends of every kind, limits, revokes, and the stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from taskq import Task, control
from taskq.conf import settings
from taskq.exceptions import EncodeError, Reject, SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded
from taskq.models import Group, LargeText
from taskq.worker.pools.base import GREEN
from testproject.arithmetic.tasks import add, fail
from tests.support import trees, workers
from tests.support.databases import Database
from tests.support.jobs import coroutines, endings, tasks
from tests.support.processes import Process
from tests.support.told import started
from tests.support.waiting import wait_until

from .kinds import POOLS, Kind

AnyTask = Task[..., Any]

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True, scope="module")


@pytest.fixture(scope="module", params=POOLS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture(scope="module")
def worker(
    kind: Kind, database: Database, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """A worker with two slots; the last test of the pool stops it."""
    with django_db_blocker.unblock(), workers.on(database, tmp_path_factory.mktemp("workers")) as processes:
        yield workers.start_worker(
            processes, "-P", kind.name, "-c", "2", environment={"TEST_APPS": "tests.support.jobs"}, **kind.settings
        )


@pytest.fixture(autouse=True)
def _unblocked(worker: Process, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def until_told(kind: Kind) -> AnyTask:
    """A task that notes its start and ends when a file is there."""
    return coroutines.run_until if kind.coroutines else endings.wait_for_file


def test_ends_of_every_kind(worker: Process, notes: Path) -> None:
    assert add.delay(2, 2).get(timeout=60) == 4
    assert endings.retry_by_itself.delay(str(notes), 1).get(timeout=60) == 1
    for failing, error in ((fail, ValueError), (endings.reject, Reject)):
        with pytest.raises(error):
            failing.delay().get(timeout=60)
    with pytest.raises(EncodeError, match="object"):
        endings.return_something_strange.delay().get(timeout=60)
    with pytest.raises(TypeError):
        add.delay().get(timeout=60)  # type: ignore[call-arg]
    results = add.delay_many([(number, number) for number in range(50)])
    assert [result.get(timeout=60) for result in results] == [2 * number for number in range(50)]


def test_coroutines_or_a_word_that_there_are_none(worker: Process, kind: Kind) -> None:
    if kind.coroutines:
        assert endings.square.delay(3).get(timeout=60) == 9
        assert coroutines.retry_twice.delay().get(timeout=60) == 2
        with pytest.raises(LookupError):
            endings.fail_async.delay().get(timeout=60)
    else:
        with pytest.raises(RuntimeError, match="use asyncio"):
            endings.square.delay(3).get(timeout=60)


def test_large_result_is_written_by_the_process_of_the_task(worker: Process, kind: Kind) -> None:
    for job in (endings.repeat, *([endings.repeat_async] if kind.coroutines else [])):
        result = job.delay("äx", 200_000)
        assert result.get(timeout=60) == "äx" * 200_000
        # On SQLite a text that came with the settlement would stand in its row.
        assert LargeText.objects.using(settings.DATABASE).exists()
        result.forget()
    assert not Group.objects.using(settings.DATABASE).exists()


def test_soft_limit(worker: Process, kind: Kind) -> None:
    # A thread of the worker's own process is only interrupted in Python code, and its loop waits in the system.
    for limited in (
        endings.soft_limit_in_python,
        *([coroutines.soft_limited] if kind.coroutines and kind.has_children else []),
    ):
        assert limited.delay(True).get(timeout=60) == "ended in time"
        with pytest.raises(SoftTimeLimitExceeded):
            limited.delay(False).get(timeout=60)


def test_hard_limit_or_a_word_that_there_is_none(worker: Process, kind: Kind, notes: Path, tmp_path: Path) -> None:
    go_on = tmp_path / "go"
    result = endings.wait_for_file.apply_async((str(notes), str(go_on)), time_limit=0.2)
    if kind.cls.supports_hard_limit:
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=60)
    else:
        wait_until(lambda: f"[{result.id}] starts without its time limit" in worker.log, what="the warning")
        go_on.touch()
        assert result.get(timeout=60) == "done"


def test_terminate_or_a_word_that_there_is_none(
    worker: Process, kind: Kind, until_told: AnyTask, notes: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go"
    result = until_told.delay(str(notes), str(go_on))
    started(notes)
    (reply,) = control.terminate(result.id, reply=True, limit=1, timeout=60) or []
    (answer,) = reply.values()
    if kind.cls.supports_terminate:
        assert "ok" in answer
        with pytest.raises(TaskRevokedError, match="terminated"):
            result.get(timeout=60)
    else:
        assert "can't end a running task" in answer["error"]
        go_on.touch()
        assert result.get(timeout=60) == "done"


def test_grace_asks_the_task_to_end(
    worker: Process, kind: Kind, until_told: AnyTask, notes: Path, tmp_path: Path
) -> None:
    result = until_told.delay(str(notes), str(tmp_path / "never"))
    behind = until_told.delay(str(notes), str(tmp_path / "go"))
    started(notes, 2 if kind.name != "solo" else 1)
    # By the command alone: what the caller writes to the database may come first, and then the task has ended.
    order = {"task_id": result.id, "signal": "TERM", "grace": 60, "written": True}
    (reply,) = control.broadcast("terminate", order, reply=True, limit=1, timeout=60) or []
    (answer,) = reply.values()
    assert answer["ok"].startswith(f"terminate: {result.id}")
    assert ("can't do more" in answer["ok"]) is not kind.cls.supports_terminate
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=60)
    (tmp_path / "go").touch()
    assert behind.get(timeout=60) == "done"
    assert "is not terminated" not in worker.log.split(result.id, 1)[-1]


def test_stack_of_a_running_task(worker: Process, kind: Kind, until_told: AnyTask, notes: Path, tmp_path: Path) -> None:
    go_on = tmp_path / "go"
    # A greenlet that uses the processor lets nobody answer.
    result = (until_told if kind.name in GREEN else endings.spin).delay(str(notes), str(go_on))
    started(notes)
    (reply,) = control.inspect(timeout=60, limit=1).stack(result.id).values()
    first = reply["ok"].splitlines()[0]
    assert first.startswith("  File ")
    assert f"{Path('support', 'jobs')}" in first
    assert str(go_on) not in reply["ok"]
    (reply,) = control.inspect(timeout=60, limit=1).stack("another").values()
    assert reply == {"error": "the task does not run here"}
    go_on.touch()
    assert result.get(timeout=60) == "done"


def test_stack_of_a_coroutine_is_where_it_waits(worker: Process, kind: Kind, notes: Path, tmp_path: Path) -> None:
    if kind.name in GREEN:
        pytest.skip("has no coroutines")
    go_on = tmp_path / "go"
    result = endings.wait_in_a_loop.delay(str(notes), str(go_on))
    started(notes)

    def waits() -> bool:
        (reply,) = control.inspect(timeout=60, limit=1).stack(result.id).values()
        # Just now it may look for the file.
        assert "wait_in_a_loop" in reply["ok"]
        return "await asyncio.sleep(0.02)" in reply["ok"]

    wait_until(waits, what="the coroutine to be found where it waits")
    go_on.touch()
    assert result.get(timeout=60) == "done"


def test_waiting_task_is_revoked(worker: Process, until_told: AnyTask, notes: Path, tmp_path: Path) -> None:
    go_on = tmp_path / "go"
    running = [until_told.delay(str(notes), str(go_on)) for _ in range(2)]
    wait_until(lambda: len(notes.read_text().splitlines()) >= 1, what="one to run")
    waiting = [tasks.note.delay(str(notes), number) for number in range(3)]
    waiting[1].revoke()
    go_on.touch()
    assert [result.get(timeout=60) for result in running] == ["done", "done"]
    assert [waiting[0].get(timeout=60), waiting[2].get(timeout=60)] == [0, 2]


def test_state_of_a_running_task_is_written(worker: Process, kind: Kind, notes: Path, tmp_path: Path) -> None:
    go_on = tmp_path / "go"
    telling: AnyTask = coroutines.tell_progress if kind.coroutines else endings.tell_progress
    result = telling.delay(str(notes), str(go_on))
    wait_until(lambda: result.state == "HALFWAY", what="the state")
    go_on.touch()
    assert result.get(timeout=60) == "done"


def test_killed_child_costs_no_task(
    worker: Process, kind: Kind, until_told: AnyTask, notes: Path, tmp_path: Path
) -> None:
    if not kind.has_children:
        assert trees.pool_children(worker.pid) == []
        return
    go_on = tmp_path / "go"
    result = until_told.delay(str(notes), str(go_on))
    started(notes)
    for child in trees.pool_children(worker.pid):
        os.kill(child, signal.SIGKILL)
    started(notes, 2)
    go_on.touch()
    assert result.get(timeout=60) == "done"


def test_warm_stop_ends_running_tasks(worker: Process, until_told: AnyTask, notes: Path, tmp_path: Path) -> None:
    go_on = tmp_path / "go"
    result = until_told.delay(str(notes), str(go_on))
    started(notes)
    worker.send(signal.SIGTERM)
    worker.wait_for_log("Warm shutdown")
    go_on.touch()
    assert worker.wait() == 0, worker.log
    assert result.get(timeout=60) == "done"
