"""Workers whose tasks run in threads of the main process."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from taskq import Task
from taskq.exceptions import SoftTimeLimitExceeded, WorkerLostError
from taskq.models import Message
from testproject.arithmetic.tasks import add
from tests.support import trees
from tests.support.jobs import endings, tasks
from tests.support.waiting import wait_until

from .conftest import StartWorker

#: Without the app whose tasks have a hard time limit.
UNLIMITED = {"TEST_APPS": "tests.support.jobs"}


def test_threads_pool_has_only_one_process(alias: str, start_worker: StartWorker, notes: Path, go_on: Path) -> None:
    worker = start_worker("-P", "threads", "-c", "3", environment=UNLIMITED)
    assert trees.children(worker.pid) == []
    assert "concurrency: 3 (threads)" in worker.log
    blocked = [endings.wait_for_file.delay(str(notes), str(go_on)) for _ in range(2)]
    wait_until(lambda: len(notes.read_text().splitlines()) == 2, what="two at once")
    who = endings.who.delay().get(timeout=60)
    assert who["pid"] == worker.pid
    assert endings.square.delay(3).get(timeout=60) == 9
    assert endings.soft_limit_in_python.delay(True).get(timeout=60) == "ended in time"
    with pytest.raises(LookupError):
        endings.fail_async.delay().get(timeout=60)
    results = add.delay_many([(n, n) for n in range(100)])
    assert [result.get(timeout=60) for result in results] == [2 * n for n in range(100)]
    with pytest.raises(WorkerLostError, match="end its worker"):
        tasks.exit_process.delay(3).get(timeout=60)
    go_on.touch()
    assert [result.get(timeout=60) for result in blocked] == ["done", "done"]
    assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("blocking", [endings.wait_for_file, endings.wait_for_file_async], ids=["sync", "async"])
def test_cold_shutdown_of_the_threads_pool_does_not_wait_for_a_running_task(
    alias: str, start_worker: StartWorker, notes: Path, go_on: Path, tmp_path: Path, blocking: Task[[str, str], str]
) -> None:
    pidfile = tmp_path / "pid"
    # Whoever waits for the task waits for longer than this test.
    options = ("-P", "threads", "--pidfile", str(pidfile))
    worker = start_worker(*options, environment=UNLIMITED, SHUTDOWN_TIMEOUT=600.0)
    result = blocking.delay(str(notes), str(go_on))
    wait_until(notes.read_text, what="the task to start")
    assert worker.stop(signal.SIGQUIT) == 1
    assert "has ended" in worker.log
    assert not pidfile.exists()
    assert list(Message.objects.using(alias).values_list("task_id", "token", "deliveries")) == [(result.id, "", 0)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_solo_pool_runs_one_task_at_a_time_in_its_process(alias: str, start_worker: StartWorker, notes: Path) -> None:
    worker = start_worker("-P", "solo", "-c", "4", environment=UNLIMITED)
    results = tasks.note.delay_many([(str(notes), n, 0.001) for n in range(20)])
    assert [result.get(timeout=60) for result in results] == list(range(20))
    # One at a time, in order, and in the worker's process.
    lines = [line.split() for line in notes.read_text().splitlines()]
    assert [int(line[0]) for line in lines] == list(range(20))
    assert {int(line[2]) for line in lines} == {worker.pid}
    assert tasks.fail_twice.delay(os.devnull).get(timeout=60) == 2
    with pytest.raises(SoftTimeLimitExceeded):
        endings.soft_limit_in_python.delay(False).get(timeout=60)
    assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("options", "words", "environment"),
    [
        (["-P", "threads", "--time-limit", "5"], "threads pool can't kill a task: --time-limit", UNLIMITED),
        (["-P", "threads"], r"can't kill a task: time_limit of tests\.support\.limited\.tasks\.too_long", {}),
        (["-P", "solo", "--max-tasks-per-child", "5"], "no children: --max-tasks-per-child", UNLIMITED),
        (["-P", "prefork", "--time-limit", "1", "--soft-time-limit", "5"], "the soft limit would never be reached", {}),
    ],
)
def test_options_that_the_pool_can_not_keep_are_refused(
    alias: str, start_worker: StartWorker, options: list[str], words: str, environment: dict[str, str]
) -> None:
    worker = start_worker(*options, ready=False, environment=environment)
    assert worker.wait() == 1
    assert re.search(words, worker.log)
    assert "Traceback" not in worker.log
