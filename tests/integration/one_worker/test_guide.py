"""The guide's examples of calling tasks, states and results, as printed."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from taskq import AsyncResult
from taskq.conf import settings
from taskq.models import Message, TaskRun
from testproject.arithmetic.tasks import add, mul, xsum
from tests.support.jobs import endings, tasks
from tests.support.processes import Process
from tests.support.waiting import wait_until


def test_result_has_value_state_and_fields_of_the_run(alias: str) -> None:
    res = add.delay(2, 2)
    assert res.get(timeout=30) == 4
    assert add.delay(2, 2).get(timeout=20) == 4
    assert (res.state, res.successful(), res.failed(), res.ready()) == ("SUCCESS", True, False, True)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", res.id)
    assert (res.name, res.args, res.kwargs) == ("testproject.arithmetic.tasks.add", [2, 2], {})
    assert res.worker == f"taskq@{socket.gethostname()}"
    assert not Message.objects.using(alias).filter(task_id=res.id).exists()


def test_apply_async_delay_and_direct_call_give_values() -> None:
    assert mul.apply_async((4, 8)).get(timeout=20) == 32
    assert xsum.delay([1, 2, 3]).get(timeout=20) == 6
    assert add(2, 2) == 4


def test_type_error_of_a_task_with_and_without_propagate() -> None:
    res = add.delay(2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"add\(\) missing 1 required positional argument: 'y'"):
        res.get(timeout=20)
    error = res.get(propagate=False)
    assert type(error) is TypeError
    assert res.failed()
    assert not res.successful()
    assert res.state == "FAILURE"
    assert "TypeError: " in (res.traceback or "")


def test_result_of_an_unknown_id_is_pending() -> None:
    assert AsyncResult("this-id-does-not-exist").state == "PENDING"


def test_task_with_countdown_and_queue_runs_later_in_that_queue(notes: Path) -> None:
    before = datetime.now(UTC)
    res = tasks.note.apply_async((str(notes), 1), queue="lopri", countdown=1)
    assert res.state == "PENDING"
    assert res.get(timeout=20) == 1
    run = res.task_record
    assert run is not None
    assert run.queue == "lopri"
    assert run.started_at is not None
    assert run.started_at - before >= timedelta(seconds=1)


def test_task_runs_no_earlier_than_its_eta(notes: Path) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=0.7)
    tasks.note.apply_async((str(notes), 1), eta=eta).get(timeout=20)
    assert float(notes.read_text().split()[1]) >= eta.timestamp()


@pytest.mark.parametrize("options", [{"countdown": -5}, {"countdown": 0}, {"eta": datetime(2001, 1, 1, tzinfo=UTC)}])
def test_task_with_a_past_eta_or_countdown_runs_at_once(notes: Path, options: dict[str, Any]) -> None:
    assert tasks.note.apply_async((str(notes), 1), **options).get(timeout=20) == 1


def test_short_tasks_do_not_wait_behind_a_long_one(notes: Path, go_on: Path, tmp_path: Path) -> None:
    with transaction.atomic(settings.DATABASE):
        long = endings.wait_for_file.delay(str(tmp_path / "long"), str(go_on))
        short = tasks.note.delay_many([(str(notes), n) for n in range(50)])
    assert [result.get(timeout=20) for result in short] == list(range(50))
    assert not long.ready()
    go_on.touch()
    assert long.get(timeout=20) == "done"


def test_many_tasks_sent_at_once_run_once_each(alias: str, notes: Path) -> None:
    results = tasks.note.delay_many([(str(notes), n) for n in range(300)])
    assert [result.get(timeout=30) for result in results] == list(range(300))
    assert sorted(int(line.split()[0]) for line in notes.read_text().splitlines()) == list(range(300))
    ids = [result.id for result in results]
    assert TaskRun.objects.using(alias).filter(task_id__in=ids, state="SUCCESS").count() == 300


def test_task_with_track_started_is_seen_as_started(worker: Process, notes: Path, go_on: Path) -> None:
    res = endings.tracked.delay(str(notes), str(go_on))
    wait_until(lambda: res.state == "STARTED", what="STARTED")
    assert res.info["hostname"] == f"taskq@{socket.gethostname()}"
    assert res.info["pid"] != worker.pid
    go_on.touch()
    assert res.get(timeout=20) == "done"


def test_running_task_without_track_started_is_pending(notes: Path, go_on: Path) -> None:
    res = endings.wait_for_file.delay(str(notes), str(go_on))
    wait_until(notes.read_text, what="the task to start")
    assert res.state == "PENDING"
    go_on.touch()
    assert res.get(timeout=20) == "done"


def test_progress_is_seen_while_the_task_runs(notes: Path, go_on: Path) -> None:
    res = tasks.progress.delay(str(notes), str(go_on))
    wait_until(lambda: res.state == "PROGRESS", what="PROGRESS")
    assert res.info == {"done": 1, "of": 2}
    assert not res.ready()
    go_on.touch()
    assert res.get(timeout=20) == "done"
    assert res.state == "SUCCESS"
