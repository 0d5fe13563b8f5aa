"""Which worker gets what, and in which order: queues, routes and priorities."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from taskq import AsyncResult, control
from taskq.models import Message
from testproject.arithmetic.tasks import add
from tests.support.jobs import endings, tasks
from tests.support.waiting import wait_until

from .conftest import StartWorker

on_one_database = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def order(notes: Path) -> list[str]:
    return [line.split()[0] for line in notes.read_text().splitlines()]


def starts(notes: Path) -> list[float]:
    return [float(line.split()[1]) for line in notes.read_text().splitlines()]


def waiting(alias: str, result: AsyncResult[Any]) -> bool:
    return Message.objects.using(alias).filter(task_id=result.id, token="").exists()


@on_one_database
def test_worker_takes_from_its_queues_only(alias: str, start_worker: StartWorker, settings: Any) -> None:
    settings.TASKQ_ROUTES = {"testproject.arithmetic.tasks.add": {"queue": "hipri"}}
    other = endings.square.delay(3)
    ours = add.delay(2, 2)
    lopri = endings.square.apply_async((4,), queue="lopri")
    hipri = start_worker("-Q", "hipri")
    assert ours.get(timeout=60) == 4
    run = ours.task_record
    assert run is not None
    assert run.queue == "hipri"
    assert endings.square.apply_async((5,), queue="hipri").get(timeout=60) == 25
    assert waiting(alias, other)
    assert waiting(alias, lopri)
    assert hipri.stop() == 0
    # Those that are declared, but one; a queue that was never named is none of them.
    start_worker("-X", "lopri", QUEUES={"taskq": {}, "hipri": {}, "lopri": {}})
    assert other.get(timeout=60) == 9
    assert add.delay(3, 3).get(timeout=60) == 6
    assert waiting(alias, lopri)


@on_one_database
def test_worker_refuses_an_undeclared_queue_when_none_may_be_created(start_worker: StartWorker) -> None:
    worker = start_worker("-Q", "hipri", ready=False, CREATE_MISSING_QUEUES=False)
    assert worker.wait() != 0
    assert "hipri" in worker.log
    assert "Traceback" not in worker.log


def test_tasks_run_by_priority_and_then_in_order(alias: str, start_worker: StartWorker, notes: Path) -> None:
    sent = [
        tasks.note.apply_async((str(notes), number), priority=priority)
        for number, priority in enumerate([0, 9, 5, 0, 9, 5, 3])
    ]
    start_worker("-O", "fair")
    for result in sent:
        result.get(timeout=60)
    assert order(notes) == ["1", "4", "2", "5", "6", "0", "3"]


def test_queues_take_turns_during_a_backlog(alias: str, start_worker: StartWorker, notes: Path, tmp_path: Path) -> None:
    backlog, count = tmp_path / "backlog", 400
    backlog.touch()
    tasks.note.delay_many([(str(backlog), n, 0.005) for n in range(count)])
    start_worker("-Q", "hipri,taskq")
    wait_until(lambda: starts(backlog)[20:], what="the worker to be at the backlog")
    hipri = tasks.note.apply_async((str(notes), 1), queue="hipri")
    # However late this test gets to look: only tasks that began after this count.
    before = len(starts(backlog))
    assert hipri.get(timeout=60) == 1
    (started,) = starts(notes)
    assert sum(start < started for start in starts(backlog)) - before < count / 4


def test_paused_queue_hands_out_nothing_until_it_is_resumed(
    alias: str, start_worker: StartWorker, notes: Path, go_on: Path
) -> None:
    worker = start_worker("-c", "1", "-Q", "taskq,lopri", "--prefetch-multiplier", "4")
    running = endings.wait_for_file.delay(str(notes), str(go_on))
    wait_until(notes.read_text, what="the task to start")
    held = [endings.square.delay(n) for n in range(3)]
    wait_until(lambda: Message.objects.using(alias).exclude(token="").count() > 1, what="the worker to hold more")
    control.pause_queue("taskq", reason="a test", by="ann")
    worker.wait_for_log("Paused: nothing is taken from taskq")
    # What the worker held and had not started waits in the queue again; what runs goes on.
    wait_until(lambda: all(waiting(alias, result) for result in held), what="the tasks to go back")
    late = endings.square.delay(9)
    go_on.touch()
    assert running.get(timeout=60) == "done"
    assert endings.square.apply_async((5,), queue="lopri").get(timeout=60) == 25
    assert [(row.queue, row.by, row.reason) for row in control.paused_queues()] == [("taskq", "ann", "a test")]
    assert all(waiting(alias, result) for result in (*held, late))
    assert control.resume_queue("taskq")
    assert not control.resume_queue("taskq")
    assert [result.get(timeout=60) for result in (*held, late)] == [0, 1, 4, 81]
    assert {message.deliveries for message in Message.objects.using(alias).all()} <= {0}


@on_one_database
def test_pause_ends_by_itself_and_holds_for_a_worker_that_starts(alias: str, start_worker: StartWorker) -> None:
    control.pause_queue("taskq", seconds=timedelta(days=1))
    result = endings.square.delay(3)
    worker = start_worker("-Q", "taskq")
    assert endings.square.apply_async((4,), queue="other").state == "PENDING"
    worker.wait_for_log("Paused: nothing is taken from taskq")
    assert waiting(alias, result)
    control.pause_queue("taskq", seconds=0.2)
    assert result.get(timeout=60) == 9
    assert control.paused_queues() == []
