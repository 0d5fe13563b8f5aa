"""Workers of tasks that leave processes behind, and write into the streams of their child."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskq.exceptions import WorkerLostError
from taskq.models import Message, TaskRun
from testproject.reports.models import Report
from tests.support import workers
from tests.support.audit import audit, times_final
from tests.support.databases import Database
from tests.support.jobs import contexts, tasks
from tests.support.processes import Process, Processes
from tests.support.unruly import tasks as unruly
from tests.support.waiting import wait_until
from tests.unit.worker.pools.driver import alive

pytestmark = pytest.mark.faults

APPS = {"TEST_APPS": "tests.support.jobs,tests.support.unruly"}
KINDS = [kind.__name__ for kind in unruly.Unruly.KINDS]

Start = Callable[..., Process]


@pytest.fixture
def start(processes: Processes) -> Start:
    """Start a worker of a pool."""
    return lambda pool, *options, **settings: workers.start_worker(
        processes, "-c", "1", "-P", pool, *options, environment=APPS, **settings
    )


def pids(notes: Path, what: str) -> list[int]:
    """Return the numbers that tasks have noted behind ``what``."""
    return [int(line.split()[1]) for line in notes.read_text().splitlines() if line.startswith(f"{what} ")]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("kind", ["prefork", "threads"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("alias")
def test_processes_of_tasks_end_with_the_worker(
    start: Start, kind: str, end: signal.Signals, tmp_path: Path, full_run: bool
) -> None:
    if not full_run and (kind, end) not in {("prefork", signal.SIGKILL), ("threads", signal.SIGTERM)}:
        pytest.skip("one end for each pool, unless the run is full")
    notes, go_on = tmp_path / "notes", tmp_path / "go-on"
    worker = start(kind)
    left = [
        unruly.leave_process.delay(str(notes), daemon, in_thread).get(timeout=60)
        for daemon in (True, False)
        for in_thread in (True, False)
    ]
    unruly.leave_process_and_wait.delay(str(notes), str(go_on))
    left = wait_until(lambda: found if len(found := pids(notes, "left")) == 5 else None, what="the processes")
    assert all(alive(pid) for pid in left)

    if end is signal.SIGTERM:
        go_on.touch()
    worker.stop(end)

    wait_until(lambda: not any(alive(pid) for pid in left), what="the end of the processes")


# -- a stream that can't be read


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("text", ["x", "garbage that is longer than the head of a frame" * 100])
def test_unreadable_child_is_killed_and_its_message_meets_the_limit(
    start: Start, alias: str, tmp_path: Path, text: str
) -> None:
    notes = tmp_path / "notes"
    worker = start("prefork", MAX_DELIVERIES=3)
    lost = unruly.scribble.delay(str(notes), text)

    with pytest.raises(WorkerLostError, match="answers can't be read"):
        lost.get(timeout=60)
    assert len(notes.read_text().splitlines()) == 3
    assert tasks.note.delay(str(notes), 7).get(timeout=60) == 7
    assert worker.stop() == 0, worker.log


# -- all of them among others


@pytest.mark.parametrize("database", ["postgresql", "sqlite"], indirect=True)
def test_unruly_tasks_among_others(
    processes: Processes, database: Database, alias: str, dice: Any, full_run: bool
) -> None:
    each, ordinary = (50, 1000) if full_run else (3, 60)
    environment = APPS | {"CONN_MAX_AGE": "600"}
    worker = workers.start_worker(processes, "-c", "2", "--prefetch-multiplier", "4", environment=environment)
    titles = [f"kept {number}" for number in range(ordinary)]
    calls = [unruly.spoil_log.s(KINDS[number % len(KINDS)]) for number in range(each)]
    calls += [unruly.map_in_pool.s([1, -2]) for _ in range(each)]
    calls += [unruly.report_from_threads.s(8, 300_000) for _ in range(each)]
    calls += [contexts.leave_open.s("begin", "left") for _ in range(each)]
    calls += [contexts.write.s(title) for title in titles]
    dice.shuffle(calls)

    with audit(alias):
        results = [call.delay() for call in calls]
        for result in results:
            result.get(timeout=300)
        assert times_final(alias) == {result.id: 1 for result in results}

    states = Counter(TaskRun.objects.using(alias).values_list("state", flat=True))
    assert states == {"SUCCESS": 4 * each + ordinary}
    assert sorted(Report.objects.using(alias).values_list("title", flat=True)) == sorted(titles)
    assert not Message.objects.using(alias).exists()
    assert worker.running  # the process that was started, not another one
    assert worker.stop() == 0, worker.log
