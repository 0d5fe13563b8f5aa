"""One child runs many tasks: each of them finds what the first one found."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connections

from taskq.exceptions import SoftTimeLimitExceeded
from testproject.reports.models import Report
from tests.support import workers
from tests.support.audit import audit, times_final
from tests.support.databases import Database
from tests.support.jobs import contexts, endings
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def worker(module_processes: Processes) -> Process:
    """A worker with one child that keeps its connection between tasks."""
    return workers.start_worker(module_processes, "-c", "1", environment={"CONN_MAX_AGE": "600", "DEBUG": "1"})


@pytest.fixture(scope="module")
def clean(worker: Process) -> dict[str, Any]:
    """What the first task finds."""
    return contexts.look.delay().get(timeout=60)


@pytest.fixture(autouse=True)
def _only_one_child(clean: dict[str, Any]) -> Any:
    """Whatever a test's tasks leave behind: the next task is in the same process and finds nothing of it."""
    yield
    assert contexts.look.delay().get(timeout=60) == clean


def test_first_task_finds_a_clean_context(clean: dict[str, Any], worker: Process) -> None:
    expected = {"language": "en-us", "timezone": "UTC", "variable": "unset", "queries": 0, "atomic": False, "row": 1}
    assert {**clean, **expected, "autocommit": True} == clean
    assert clean["pid"] != worker.pid


def test_language_zone_and_context_variables_do_not_reach_the_next_task() -> None:
    assert contexts.leave_context.delay().get(timeout=60) == ["de", "Asia/Tokyo", "set"]


def test_logged_queries_do_not_reach_the_next_task() -> None:
    assert contexts.leave_queries.delay(5).get(timeout=60) == 5
    assert contexts.leave_queries.delay(3).get(timeout=60) == 3


def test_transaction_left_open_by_a_task_is_rolled_back_and_logged(worker: Process, database: Database) -> None:
    contexts.leave_transaction.delay("never").get(timeout=60)
    contexts.look.delay().get(timeout=60)
    worker.wait_for_log("left a transaction on 'default' open")
    assert not Report.objects.using(database.alias).filter(title="never").exists()


def test_autocommit_turned_off_by_a_task_is_on_for_the_next_task() -> None:
    assert contexts.leave_autocommit_off.delay().get(timeout=60) is False


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_connection_closed_by_the_server_is_replaced_between_tasks(database: Database, clean: dict[str, Any]) -> None:
    if database.vendor == "postgresql":
        contexts.leave_broken_connection.delay().get(timeout=60)
        contexts.name_connection.delay("to be closed").get(timeout=60)
        # The server may have those of another run of these tests.
        named = "FROM pg_stat_activity WHERE application_name = 'to be closed' AND datname = current_database()"
        with connections[database.alias].cursor() as cursor:
            cursor.execute(f"SELECT count(pg_terminate_backend(pid)) {named}")
            assert cursor.fetchone() == (1,)
        _wait_until_gone(database, f"SELECT count(*) {named}")
    else:
        number = contexts.connection_id.delay().get(timeout=60)
        with connections[database.alias].cursor() as cursor:
            cursor.execute(f"KILL {int(number)}")
        _wait_until_gone(database, f"SELECT count(*) FROM information_schema.processlist WHERE id = {int(number)}")
        assert contexts.connection_id.delay().get(timeout=60) != number


def _wait_until_gone(database: Database, sql: str) -> None:
    """Wait until the server has ended the connection: it says so before it has."""

    def gone() -> bool:
        with connections[database.alias].cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone() == (0,)

    wait_until(gone, what="the connection to be closed by the server")


def test_soft_limit_within_a_transaction_rolls_it_back(database: Database) -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        contexts.write_for_too_long.delay("too long").get(timeout=60)
    assert not Report.objects.using(database.alias).filter(title="too long").exists()


def test_coroutine_task_leaves_a_clean_context() -> None:
    assert endings.square.delay(4).get(timeout=60) == 16


# -- transactions that were begun by SQL


def _titles(database: Database) -> set[str]:
    return set(Report.objects.using(database.alias).values_list("title", flat=True))


@pytest.mark.parametrize("way", contexts.OPEN_TRANSACTIONS)
def test_transaction_that_only_the_driver_knows_of_is_rolled_back(
    way: str, worker: Process, database: Database
) -> None:
    title = "" if way in ("failed", "closed in atomic") else f"left {way}"
    left = contexts.leave_open.delay(way, title)
    left.get(timeout=60)
    contexts.write.delay(f"kept {way}").get(timeout=60)
    worker.wait_for_log(re.escape(f"contexts.leave_open[{left.id}] left a transaction on 'default' open"))
    assert f"kept {way}" in _titles(database)
    assert f"left {way}" not in _titles(database)


@pytest.mark.parametrize("way", contexts.OPEN_TRANSACTIONS)
def test_large_result_of_a_task_that_leaves_a_transaction_open_is_not_rolled_back_with_it(way: str) -> None:
    assert contexts.leave_open_with_a_result.delay(way, 300_000).get(timeout=60) == "x" * 300_000


def test_transaction_left_in_the_thread_of_a_coroutine_is_rolled_back(database: Database) -> None:
    contexts.leave_open_async.delay().get(timeout=60)
    contexts.write_async.delay("kept by a coroutine").get(timeout=60)
    assert "kept by a coroutine" in _titles(database)


@pytest.mark.parametrize(
    ("database", "pool"),
    [("sqlite", "prefork"), ("postgresql", "threads"), ("mariadb", "solo")],
    indirect=["database"],
)
def test_rows_of_tasks_are_kept_beside_tasks_that_leave_transactions_open(
    pool: str, processes: Processes, database: Database, full_run: bool
) -> None:
    count = 950 if full_run else 60
    environment = {"CONN_MAX_AGE": "600", "TEST_APPS": "tests.support.jobs"}
    worker = workers.start_worker(processes, "-c", "2", "-Q", "open", "-P", pool, environment=environment)
    wanted = [f"{pool} {number}" for number in range(count)]
    with audit(database.alias):
        results = [contexts.write.apply_async((title,), queue="open") for title in wanted[::2]]
        results += [contexts.leave_open.apply_async(("begin", "left"), queue="open") for _ in range(count // 19)]
        results += [contexts.write.apply_async((title,), queue="open") for title in wanted[1::2]]
        for result in results:
            result.get(timeout=60)
        assert set(times_final(database.alias).values()) == {1}
    assert set(wanted) <= _titles(database)
    assert "left" not in _titles(database)
    assert worker.running


# -- the process


one_database = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@one_database
@pytest.mark.parametrize("what", contexts.CHANGES)
def test_change_of_the_process_by_a_task_does_not_reach_another_task(what: str) -> None:
    before = contexts.look_at_process.delay().get(timeout=60)
    contexts.change.delay(what).get(timeout=60)
    assert contexts.look_at_process.delay().get(timeout=60) == before


@one_database
def test_change_by_one_of_many_short_tasks_does_not_reach_another_task() -> None:
    before = contexts.look_at_process.delay().get(timeout=60)
    results = []
    for what in ("directory", "handlers", "limits"):
        results += [*contexts.change.delay_many([(what,)] * 10), contexts.look_at_process.delay()]
    seen = [result.get(timeout=60) for result in results]
    assert [one for one in seen if one is not None] == [before] * 3
