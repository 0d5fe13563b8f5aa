"""Tasks that fork, report from everywhere, and log through handlers that raise: each gets its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from tests.support import workers
from tests.support.databases import Database
from tests.support.processes import Process
from tests.support.unruly import tasks as unruly
from tests.support.waiting import wait_until
from tests.unit.worker.pools.driver import alive

pytestmark = [pytest.mark.faults, pytest.mark.parametrize("database", ["postgresql"], indirect=True)]

APPS = {"TEST_APPS": "tests.support.jobs,tests.support.unruly"}
KINDS = [kind.__name__ for kind in unruly.Unruly.KINDS]


@pytest.fixture(scope="module", params=["prefork", "threads"])
def pool(request: pytest.FixtureRequest, full_run: bool) -> str:
    if request.param == "threads" and not full_run:
        pytest.skip("one pool, unless the run is full")
    return str(request.param)


@pytest.fixture(scope="module")
def worker(
    pool: str, database: Database, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """A worker that has to live to the end, with its own pid, and to stop with status 0."""
    with django_db_blocker.unblock(), workers.on(database, tmp_path_factory.mktemp("workers")) as processes:
        worker = workers.start_worker(processes, "-c", "2", "-P", pool, environment=APPS)
        yield worker
        assert worker.stop() == 0, worker.log


@pytest.fixture
def unblocked(worker: Process, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


# -- the log


@pytest.mark.usefixtures("unblocked")
@pytest.mark.parametrize("kind", KINDS)
def test_log_handler_that_raises_costs_no_outcome(kind: str) -> None:
    spoiled = [unruly.spoil_log.delay(kind) for _ in range(3)]
    failed = unruly.spoil_log_by_failure.delay(kind)
    assert [result.get(timeout=60) for result in spoiled] == [f"raise {kind} in the log"] * 3
    with pytest.raises(ValueError, match=kind):
        failed.get(timeout=60)


@pytest.mark.usefixtures("unblocked")
@pytest.mark.parametrize("raising", ["", "by bool and repr"])
def test_exception_that_is_false_is_stored(raising: str) -> None:
    failed = unruly.fail_falsy.delay(raising)
    with pytest.raises(unruly.Falsy):
        failed.get(timeout=60)
    assert unruly.retry_falsy.delay().get(timeout=60) == "again"


# -- reports


@pytest.mark.usefixtures("unblocked")
def test_reports_of_many_threads_reach_the_worker() -> None:
    results = [unruly.report_from_threads.delay(8, 300_000) for _ in range(3)]
    assert {len(result.get(timeout=60)) for result in results} == {300_000}


@pytest.mark.usefixtures("unblocked")
def test_report_of_a_forked_process_is_an_error_there() -> None:
    assert "in the process that runs the task" in unruly.report_from_process.delay().get(timeout=60)


# -- forked processes


@pytest.mark.usefixtures("unblocked")
def test_pool_of_processes_works_in_a_task() -> None:
    results = [unruly.map_in_pool.delay([1, -2]) for _ in range(4)]
    assert [result.get(timeout=60) for result in results] == [[1, 2]] * 4


@pytest.mark.usefixtures("unblocked")
def test_forked_process_starts_like_a_new_one(pool: str) -> None:
    assert unruly.terminate_process.delay().get(timeout=60) == -signal.SIGTERM
    assert unruly.run_with_preexec.delay().get(timeout=60) == 0
    found = unruly.state_of_process.delay().get(timeout=60)
    assert found["taskqs"] == []
    if pool == "prefork":
        assert found["sockets"] == found["own sockets"] - 1


@pytest.mark.usefixtures("unblocked")
@pytest.mark.parametrize("how", ["return", "raise", "exit"])
def test_process_that_a_task_forks_gives_no_outcome(how: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    assert [unruly.return_twice.delay(str(notes), how).get(timeout=60) for _ in range(3)] == ["the task"] * 3
    assert unruly.return_twice_async.delay(str(notes)).get(timeout=60) == "the task"
    forked = wait_until(lambda: found if len(found := _forked(notes)) == 4 else None, what="the forked processes")
    wait_until(lambda: not any(alive(pid) for pid in forked), what="their end")


def _forked(notes: Path) -> list[int]:
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [int(line.split()[-1]) for line in lines if line.startswith("forked")]
