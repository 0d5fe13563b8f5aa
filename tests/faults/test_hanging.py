"""A worker whose main process hangs is ended by its watchdogs, and what it held runs elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskq import states
from taskq.models import Worker
from tests.support import trees
from tests.support.jobs import tasks as jobs
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = [
    pytest.mark.faults,
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


@pytest.mark.parametrize("what", ["loop", "store"])
def test_hanging_worker_ends_with_its_processes(alias: str, start_worker: StartWorker, notes: Path, what: str) -> None:
    name = {"loop": "loop", "store": "store thread"}[what]
    worker = start_worker("-n", "hanging", WATCHDOG_TIMEOUT=3.0, environment={"TEST_HANG": what})
    everything = trees.whole(worker.pid, 4)  # with the fork server and two children
    result = jobs.note.delay(str(notes), 1)
    assert worker.wait(60) == 70
    assert f"The worker's {name} has made no progress for 3 s" in worker.log
    assert "tests/support/hanging/apps.py" in worker.log, "the stacks say what hangs"
    wait_until(lambda: not any(trees.alive(pid) for pid in everything), what="all of its processes to be gone")
    start_worker("-n", "other")
    wait_until(result.ready, what="the task to run elsewhere")
    assert result.state == states.SUCCESS


def test_worker_that_must_not_end_loses_its_tasks_while_its_log_blocks_the_loop(
    alias: str, start_worker: StartWorker, notes: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    hang = {"TEST_HANG": "log", "TEST_HANG_FILE": str(blocked)}
    worker = start_worker("-n", "hanging", WATCHDOG_TIMEOUT=None, environment=hang)
    result = jobs.note.delay(str(notes), 1)
    wait_until(blocked.exists, what="the loop to hang")
    other = start_worker("-n", "other")
    wait_until(result.ready, 60, what="the task to run elsewhere")
    assert worker.running
    blocked.unlink()
    worker.wait_for_log("begins a new lease")
    assert (worker.stop(), other.stop()) == (0, 0)
    assert result.state == states.SUCCESS
    assert len(notes.read_text().splitlines()) == 1


def test_worker_that_cannot_start_ends_with_its_processes_and_leaves_no_row(
    alias: str, start_worker: StartWorker
) -> None:
    worker = start_worker("-n", "unstarted", ready=False, environment={"TEST_HANG": "start"})
    assert worker.wait(60) == 1
    assert worker.log.splitlines()[-1] == "CommandError: The worker can't start: can't start new thread"
    assert "Traceback" not in worker.log
    with pytest.raises(ProcessLookupError):
        os.killpg(worker.pid, 0)
    assert not Worker.objects.using(alias).exists()
