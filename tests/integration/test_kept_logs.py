"""Lines of tasks in the database: from each kind of pool, and of a task whose process is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from taskq import AsyncResult, states
from taskq.exceptions import WorkerLostError
from taskq.models import Attempt, TaskLog, TaskRun
from tests.support.jobs import chatty
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
#: Without the app whose tasks have a hard time limit, which threads can't have.
UNLIMITED = {"TEST_APPS": "tests.support.jobs"}


def kept(result: AsyncResult, alias: str) -> list[str]:
    rows = TaskLog.objects.using(alias).filter(task_id=result.id).order_by("id")
    return [line[3] for row in rows for line in json.loads(row.lines)]


@pytest.mark.parametrize("pool", ["asyncio", "threads"])
def test_lines_are_kept(alias: str, start_worker: StartWorker, pool: str) -> None:
    start_worker("-P", pool, "-c", "2", environment=UNLIMITED, KEEP_TASK_LOGS=True)
    for task in (chatty.chat, chatty.chat_async):
        result = task.delay()
        assert result.get(timeout=60) is None
        assert kept(result, alias) == ["begins", "is slow"]


def test_lines_are_kept_of_each_attempt_and_of_a_task_that_was_killed(
    alias: str, start_worker: StartWorker, notes: Path, go_on: Path
) -> None:
    start_worker(KEEP_TASK_LOGS=True, MAX_DELIVERIES=1)
    failed = chatty.chat_and_fail.delay()
    with pytest.raises(LookupError):
        failed.get(timeout=60)
    assert kept(failed, alias) == ["fails", "fails"]
    starts = TaskLog.objects.using(alias).filter(task_id=failed.id).order_by("id").values_list("started_at", flat=True)
    attempt, run = Attempt.objects.using(alias).get(), TaskRun.objects.using(alias).get(task_id=failed.id)
    assert list(starts) == [attempt.started_at, run.started_at]
    killed = chatty.chat.delay(str(notes), str(go_on))
    wait_until(lambda: len(kept(killed, alias)) == 2, what="the lines of a running task")
    os.kill(int(notes.read_text().split()[-1]), signal.SIGKILL)
    with pytest.raises(WorkerLostError):
        killed.get(timeout=60)
    assert killed.state == states.FAILURE
    assert kept(killed, alias) == ["begins", "is slow"]
