"""Revoking: before there is a worker, while a worker holds the task, while it runs, and after it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskq import AsyncResult
from taskq.exceptions import TaskRevokedError
from taskq.models import Message
from tests.support import trees, workers
from tests.support.databases import Database
from tests.support.jobs import endings, tasks
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until


@dataclass
class Early:
    """What was revoked while no worker was there."""

    waiting: AsyncResult[int]
    scheduled: AsyncResult[int]
    notes: Path


@pytest.fixture(scope="module")
def early(module_processes: Processes) -> Early:
    notes = module_processes.directory / "early"
    notes.touch()
    waiting = tasks.note.delay(str(notes), 1)
    scheduled = tasks.note.apply_async((str(notes), 2), countdown=0.2)
    waiting.revoke()
    scheduled.revoke(terminate=True)
    return Early(waiting, scheduled, notes)


@pytest.fixture(scope="module", autouse=True)
def worker(early: Early, module_processes: Processes) -> Iterator[Process]:
    """A worker with one child that holds eight messages."""
    worker = workers.start_worker(module_processes, "-c", "1", "--prefetch-multiplier", "8")
    yield worker
    assert worker.stop() == 0, worker.log


def running(notes: Path, go_on: Path) -> AsyncResult[str]:
    """Send a task, and wait until it runs."""
    result = endings.wait_for_file.delay(str(notes), str(go_on))
    wait_until(notes.read_text, what="the task to start")
    return result


def test_tasks_revoked_before_a_worker_starts_do_not_run(early: Early, notes: Path) -> None:
    for result in (early.waiting, early.scheduled):
        assert result.state == "REVOKED"
        with pytest.raises(TaskRevokedError, match="revoked"):
            result.get(timeout=1)
    # Queues keep their order: when this one has run, those would have.
    assert tasks.note.apply_async((str(notes), 3), countdown=0.2).get(timeout=60) == 3
    assert early.notes.read_text() == ""


def test_claimed_task_revoked_before_its_start_does_not_run(database: Database, notes: Path, go_on: Path) -> None:
    first = running(notes, go_on)
    held = [tasks.note.delay(str(notes), n) for n in range(3)]
    messages = Message.objects.using(database.alias).filter(task_id__in=[r.id for r in held]).exclude(token="")
    wait_until(lambda: messages.count() == 3, what="the worker to hold all")
    held[1].revoke()
    wait_until(lambda: held[1].state == "REVOKED", what="REVOKED, though its child is busy")
    assert first.state == "PENDING"
    go_on.touch()
    assert [held[0].get(timeout=60), held[2].get(timeout=60)] == [0, 2]
    assert first.get(timeout=60) == "done"
    assert [line.split()[0] for line in notes.read_text().splitlines()] == ["started", "0", "2"]


def test_revoke_without_terminate_lets_a_running_task_end(notes: Path, go_on: Path) -> None:
    result = running(notes, go_on)
    result.revoke()
    go_on.touch()
    assert result.get(timeout=60) == "done"
    assert result.state == "SUCCESS"


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_terminate_kills_a_running_task_and_no_other(worker: Process, notes: Path, go_on: Path, signal: str) -> None:
    result = running(notes, go_on)
    behind = tasks.note.delay(str(notes), 5)
    (child,) = trees.pool_children(worker.pid)
    result.revoke(terminate=True, signal=signal)
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=60)
    assert result.state == "REVOKED"
    assert not trees.alive(child)
    assert behind.get(timeout=60) == 5
    assert len(notes.read_text().splitlines()) == 2


def test_terminate_of_a_waiting_task_leaves_the_running_one(notes: Path, go_on: Path) -> None:
    first = running(notes, go_on)
    second = tasks.note.delay(str(notes), 1)
    second.revoke(terminate=True)
    wait_until(lambda: second.state == "REVOKED", what="REVOKED")
    go_on.touch()
    assert first.get(timeout=60) == "done"


def test_revoking_an_ended_task_changes_nothing(notes: Path) -> None:
    result = tasks.note.delay(str(notes), 1)
    assert result.get(timeout=60) == 1
    AsyncResult[int](result.id).revoke(terminate=True)
    assert AsyncResult[int](result.id).state == "SUCCESS"
