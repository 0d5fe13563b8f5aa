"""One child runs many tasks: each of them finds what the first one found."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections

from taskq.exceptions import SoftTimeLimitExceeded
from testproject.reports.models import Report
from tests.support import workers
from tests.support.databases import Database
from tests.support.jobs import contexts, endings
from tests.support.processes import Process, Processes


@pytest.fixture(scope="module")
def worker(module_processes: Processes) -> Process:
    """A worker with one child that keeps its connection between tasks."""
    return workers.start_worker(module_processes, "-c", "1", environment={"CONN_MAX_AGE": "600", "DEBUG": "1"})


@pytest.fixture(scope="module")
def clean(worker: Process) -> dict[str, Any]:
    """What the first task finds."""
    return contexts.look.delay().get(timeout=30)


@pytest.fixture(autouse=True)
def _only_one_child(clean: dict[str, Any]) -> Any:
    """Whatever a test's tasks leave behind: the next task is in the same process and finds nothing of it."""
    yield
    assert contexts.look.delay().get(timeout=20) == clean


def test_first_task_finds_a_clean_context(clean: dict[str, Any], worker: Process) -> None:
    expected = {"language": "en-us", "timezone": "UTC", "variable": "unset", "queries": 0, "atomic": False, "row": 1}
    assert {**clean, **expected, "autocommit": True} == clean
    assert clean["pid"] != worker.pid


def test_language_zone_and_context_variables_do_not_reach_the_next_task() -> None:
    contexts.leave_context.delay().get(timeout=20)


def test_logged_queries_do_not_reach_the_next_task() -> None:
    assert contexts.leave_queries.delay(5).get(timeout=20) == 5
    assert contexts.leave_queries.delay(3).get(timeout=20) == 3


def test_transaction_left_open_by_a_task_is_rolled_back_and_logged(worker: Process, database: Database) -> None:
    contexts.leave_transaction.delay("never").get(timeout=20)
    contexts.look.delay().get(timeout=20)
    worker.wait_for_log("left a transaction on 'default' open")
    assert not Report.objects.using(database.alias).filter(title="never").exists()


def test_autocommit_turned_off_by_a_task_is_on_for_the_next_task() -> None:
    contexts.leave_autocommit_off.delay().get(timeout=20)


def test_connection_closed_by_the_server_is_replaced_between_tasks(database: Database, clean: dict[str, Any]) -> None:
    if database.vendor == "postgresql":
        contexts.leave_broken_connection.delay().get(timeout=20)
        contexts.name_connection.delay("to be closed").get(timeout=20)
        with connections[database.alias].cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'to be closed'"
            )
            assert cursor.fetchone() == (1,)
    elif database.vendor == "mariadb":
        number = contexts.connection_id.delay().get(timeout=20)
        with connections[database.alias].cursor() as cursor:
            cursor.execute(f"KILL {int(number)}")


def test_soft_limit_within_a_transaction_rolls_it_back(database: Database) -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        contexts.write_for_too_long.delay("too long").get(timeout=20)
    assert not Report.objects.using(database.alias).filter(title="too long").exists()


def test_coroutine_task_leaves_a_clean_context() -> None:
    assert endings.square.delay(4).get(timeout=20) == 16
