"""Processes killed at random: no task is lost, and none is settled twice."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest
from django.db import connections

from taskq import states
from taskq.models import Message, TaskRun, Worker
from tests.support import trees
from tests.support.audit import audit, times_final
from tests.support.databases import Database
from tests.support.jobs import tasks as jobs
from tests.support.killer import Killer
from tests.support.length import mainly_on
from tests.support.processes import Process
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def _unfinished(alias: str) -> int:
    return TaskRun.objects.using(alias).exclude(state__in=states.READY_STATES).count()


def _started(path: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in path.read_text().splitlines())


def test_every_task_gets_one_final_state_while_children_and_workers_are_killed(
    alias: str, start_worker: StartWorker, notes: Path, full_run: bool, dice: Random
) -> None:
    count = 3000 if full_run else 400
    with audit(alias):
        results = jobs.note.delay_many([(str(notes), n, 0.005 if full_run else 0.02) for n in range(count)])
        killer = Killer(
            lambda name: start_worker("-n", name, ready=False),
            3,
            dice,
            interval=0.5,
            seconds=120,
            progress=lambda: _unfinished(alias),
            workers=0.4,
        )

        def done() -> bool:
            killer.turn()
            return _unfinished(alias) == 0

        wait_until(done, 300, interval=0.1, what="all tasks to end")
        ends = times_final(alias)
    print(killer.killed)
    assert Counter(TaskRun.objects.using(alias).values_list("state", flat=True)) == {states.SUCCESS: count}
    assert ends == dict.fromkeys((result.id for result in results), 1)
    assert not Message.objects.using(alias).exists()
    assert len(_started(notes)) == count


@mainly_on("postgresql")
def test_task_that_kills_its_child_fails_after_max_deliveries_and_harms_no_other(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    calls = [(str(notes), n) for n in range(100)]
    results = jobs.note.delay_many(calls[:50])
    killer = jobs.die.delay(str(notes))
    results += jobs.note.delay_many(calls[50:])
    start_worker(MAX_DELIVERIES=3)
    wait_until(lambda: _unfinished(alias) == 0, 60, what="all tasks to end")
    assert killer.state == states.FAILURE
    assert type(killer.result).__name__ == "WorkerLostError"
    assert "SIGKILL" in str(killer.result)
    starts = _started(notes)
    assert starts.pop("-1") == 3
    assert starts == {str(n): 1 for n in range(100)}
    assert {result.state for result in results} == {states.SUCCESS}


def test_two_workers_run_no_task_twice(alias: str, start_worker: StartWorker, notes: Path, full_run: bool) -> None:
    count = 5000 if full_run else 1000
    for name in ("a", "b"):
        # One that a busy machine keeps from its heartbeats is not to be taken for dead by the other.
        start_worker("-n", name, LEASE=60.0)
    jobs.note.delay_many([(str(notes), n) for n in range(count)])
    wait_until(lambda: _unfinished(alias) == 0, 120, what="all tasks to end")
    assert _started(notes) == {str(n): 1 for n in range(count)}


#: Tell how many transactions others have open.
_OPEN_TRANSACTIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()",
    "mariadb": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> connection_id()",
}


def _in_transaction(database: Database) -> bool:
    if database.vendor == "sqlite":
        with closing(sqlite3.connect(urlsplit(database.url).path, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
        return False
    with connections[database.alias].cursor() as cursor:
        cursor.execute(_OPEN_TRANSACTIONS[database.vendor])
        return bool(cursor.fetchone()[0])


def _freeze_between_transactions(worker: Process, database: Database) -> None:
    """Stop a worker in a moment in which it holds no lock: while it does, nobody can take over."""

    def frozen() -> bool:
        os.kill(worker.pid, signal.SIGSTOP)
        if not _in_transaction(database):
            return True
        os.kill(worker.pid, signal.SIGCONT)
        return False

    wait_until(frozen, what="the worker to be frozen without a lock")


@mainly_on("sqlite", "postgresql")
def test_worker_frozen_past_its_lease_settles_no_message_that_was_taken_over(
    clean_database: Database, start_worker: StartWorker, notes: Path
) -> None:
    alias = clean_database.alias
    frozen = start_worker("-n", "frozen", LEASE=1.5)
    with audit(alias):
        jobs.note.delay_many([(str(notes), n, 0.3) for n in range(12)])
        wait_until(lambda: len(_started(notes)) >= 2, what="the first tasks to start")
        _freeze_between_transactions(frozen, clean_database)
        other = start_worker("-n", "other", LEASE=1.5)
        wait_until(lambda: _unfinished(alias) == 0, 60, what="the other worker to take over")
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.wait_for_log("taken for dead")
        assert set(times_final(alias).values()) == {1}
        assert len(times_final(alias)) == 12
        other.stop()
        again = jobs.note.delay(str(notes), 99)
        wait_until(again.ready, what="the worker that was frozen to work on")
    assert again.successful()


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_children_of_a_killed_worker_end_and_its_tasks_run_elsewhere(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker("-n", "first")
    everything = trees.whole(worker.pid, 4)  # with the fork server and two children
    jobs.note.delay_many([(str(notes), n, 1.0) for n in range(4)])
    wait_until(lambda: len(_started(notes)) >= 2, what="two tasks to run")
    worker.kill()
    wait_until(lambda: not any(trees.alive(pid) for pid in everything), what="all of its processes to be gone")
    start_worker("-n", "second")
    wait_until(lambda: _unfinished(alias) == 0, what="all tasks to end")
    assert Worker.objects.using(alias).get(name__startswith="first").state == "lost"


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_killed_fork_server_ends_the_worker_and_loses_nothing(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker("-n", "first")
    jobs.note.delay_many([(str(notes), n, 0.2) for n in range(20)])
    wait_until(lambda: len(_started(notes)) >= 2, what="two tasks to run")
    (server,) = trees.children(worker.pid)
    os.kill(server, signal.SIGKILL)
    assert worker.wait() != 0
    assert "fork server" in worker.log
    assert not Message.objects.using(alias).exclude(token="").exists()
    start_worker("-n", "second")
    wait_until(lambda: _unfinished(alias) == 0, what="all tasks to end")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_frozen_fork_server_ends_the_worker_and_loses_nothing(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker("-n", "first")
    jobs.note.delay_many([(str(notes), n, 60.0) for n in range(4)])
    wait_until(lambda: len(_started(notes)) >= 2, what="two tasks to run")
    everything = trees.whole(worker.pid, 4)  # with the fork server and two children
    (server,) = trees.children(worker.pid)
    os.kill(server, signal.SIGSTOP)
    assert worker.wait() == 1
    assert "The fork server has not answered" in worker.log
    assert not any(trees.alive(pid) for pid in everything)
    assert not Message.objects.using(alias).exclude(token="").exists()
    assert Message.objects.using(alias).count() == 4


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_task_that_kills_the_fork_server_fails_after_max_deliveries(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    killer = jobs.kill_fork_server.delay(str(notes))
    for number in range(3):
        worker = start_worker("-n", f"w{number}", ready=False, MAX_DELIVERIES=3)
        assert worker.wait() == 1
    assert killer.state == states.FAILURE
    assert "fork server" in str(killer.result)
    assert sum(_started(notes).values()) == 3
    assert not Message.objects.using(alias).exists()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_early_ack_task_fails_and_is_not_run_again_when_its_child_is_killed(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    start_worker()
    result = jobs.die_early_acked.delay(str(notes))
    wait_until(result.ready, what="the task to end")
    assert type(result.result).__name__ == "WorkerLostError"
    assert _started(notes) == {"early": 1}


@mainly_on("sqlite")
def test_early_ack_task_fails_and_is_not_run_again_when_its_worker_is_killed(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker("-n", "first")
    result = jobs.nap_early_acked.delay(str(notes), 60)
    wait_until(lambda: _started(notes), what="the task to start")
    worker.kill()
    start_worker("-n", "second")
    wait_until(result.ready, what="the loss to be noticed")
    assert type(result.result).__name__ == "WorkerLostError"
    assert _started(notes) == {"early": 1}
