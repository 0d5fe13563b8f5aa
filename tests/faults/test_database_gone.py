"""The database goes away and comes back: connections cut, refused, frozen, its sessions ended."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from django.db import connections

from taskq import states
from taskq.models import Message, TaskRun
from taskq.store.claim import claim
from tests.support import trees
from tests.support.audit import audit, times_final
from tests.support.databases import Database
from tests.support.jobs import tasks as jobs
from tests.support.patience import Patience
from tests.support.processes import Process, Processes
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.workers import worker_rows

from .conftest import StartWorker

pytestmark = pytest.mark.faults
servers = pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def proxy(database_url: str, processes: Processes) -> Iterator[Proxy]:
    """Put a proxy between the database and the workers; the test itself goes the direct way."""
    with Proxy(database_url) as proxy:
        processes.environment["DATABASE_URL"] = proxy.url
        yield proxy
        proxy.thaw()
        proxy.start()
        processes.end()


def _unfinished(alias: str) -> int:
    return TaskRun.objects.using(alias).exclude(state__in=states.READY_STATES).count()


def _starts(path: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in path.read_text().splitlines())


def _send(alias: str, notes: Path, count: int, seconds: float = 0.0) -> list[str]:
    return [result.id for result in jobs.note.delay_many([(str(notes), n, seconds) for n in range(count)])]


def _each_ended_once(alias: str, ids: list[str]) -> None:
    assert times_final(alias) == dict.fromkeys(ids, 1)
    assert Counter(TaskRun.objects.using(alias).values_list("state", flat=True)) == {states.SUCCESS: len(ids)}
    wait_until(lambda: not Message.objects.using(alias).exists(), what="no message to be left over")


def _wait_for_all(alias: str, worker: Process, done: Callable[[], bool], interval: float = 0.02) -> None:
    try:
        wait_until(done, 180, interval=interval, what="all tasks to end")
    except AssertionError:
        left = list(Message.objects.using(alias).values_list("id", "token", "redelivered", "deliveries"))
        raise AssertionError(f"not all tasks ended; left over are {left}; {worker!r} logged:\n{worker.log}") from None


def _break_again_and_again(alias: str, worker: Process, dice: Random, break_now: Callable[[], int]) -> None:
    """Break connections, sometimes at once again and sometimes after a while, until all tasks have ended."""
    next_break, broken = time.monotonic(), 0
    # Then what is left ends in peace, however slow the machine.
    last_break = next_break + 60
    patience = Patience(lambda: _unfinished(alias))

    def done() -> bool:
        nonlocal next_break, broken
        if next_break < time.monotonic() < last_break and patience.may_strike():
            # Long enough, now and then, to connect anew.
            next_break = time.monotonic() + dice.choice([0.02, 0.1, 0.2, 0.4, 0.8])
            if break_now():
                broken += 1
                patience.struck()
        return _unfinished(alias) == 0

    _wait_for_all(alias, worker, done, interval=0.01)
    assert broken


def _still_works(alias: str, worker: Process, notes: Path) -> None:
    """A worker that lives still hears of new tasks at once."""
    assert worker.running
    again = jobs.note.delay(str(notes), 10_000)
    wait_until(again.ready, what="the worker to work on")


@servers
def test_tasks_end_once_while_connections_are_cut_repeatedly(
    alias: str, proxy: Proxy, start_worker: StartWorker, notes: Path, full_run: bool, dice: Random
) -> None:
    worker = start_worker()
    with audit(alias):
        ids = _send(alias, notes, 3000 if full_run else 300, 0.005)
        _break_again_and_again(alias, worker, dice, proxy.cut)
        _each_ended_once(alias, ids)
    worker.wait_for_log("The database gave an error")
    _still_works(alias, worker, notes)


@servers
def test_tasks_end_once_when_the_database_is_stopped_and_started(
    alias: str, proxy: Proxy, start_worker: StartWorker, notes: Path, full_run: bool
) -> None:
    worker = start_worker(LEASE=1.0)
    with audit(alias):
        ids = _send(alias, notes, 30, 0.1)
        wait_until(lambda: len(_starts(notes)) >= 4, what="some tasks to start")
        proxy.stop()
        worker.wait_for_log("The database gave an error")
        stopped = time.monotonic()
        # Longer than the lease: what is in hand may not be started on the strength of it.
        wait_until(lambda: time.monotonic() > stopped + (20 if full_run else 1.5))
        proxy.start()
        _wait_for_all(alias, worker, lambda: _unfinished(alias) == 0)
        _each_ended_once(alias, ids)
    assert _starts(notes) == {str(n): 1 for n in range(30)}
    _still_works(alias, worker, notes)


@servers
def test_worker_that_waits_for_the_database_can_be_stopped(
    alias: str, proxy: Proxy, start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker(SHUTDOWN_TIMEOUT=300)
    proxy.stop()
    worker.wait_for_log(r"The database gave an error; trying again \(3\)")
    assert worker.stop() == 1


@servers
def test_worker_stopped_while_the_database_is_away_tells_what_was_not_written(
    alias: str, proxy: Proxy, start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker(SHUTDOWN_TIMEOUT=300)
    go_on = notes.with_name("go on")
    result = jobs.progress.delay(str(notes), str(go_on))
    wait_until(lambda: _starts(notes), what="the task to start")
    proxy.stop()
    go_on.touch()
    worker.wait_for_log("The database gave an error")
    assert worker.stop() == 1
    assert f"Ends that were not written: 1 (tests.support.jobs.tasks.progress[{result.id}] SUCCESS)" in worker.log
    proxy.start()
    assert not result.ready()
    start_worker()
    assert result.get(timeout=60) == "done"


@postgresql
def test_task_lost_while_the_database_is_read_only_runs_again(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker(LEASE=600.0)
    go_on = notes.with_name("go on")
    result = jobs.progress.delay(str(notes), str(go_on))
    wait_until(lambda: _starts(notes), what="the task to start")
    _set_read_only(alias, "on")
    try:
        _end_sessions(alias)
        os.kill(int(notes.read_text().split()[2]), signal.SIGKILL)
        worker.wait_for_log("read-only transaction(?s:.*)read-only transaction")
    finally:
        _set_read_only(alias, "off")
    go_on.touch()
    assert result.get(timeout=60) == "done"
    assert worker.running


def test_messages_of_a_claim_whose_answer_was_lost_run_while_the_worker_lives(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker("-Q", "other", LEASE=600.0, POLL_INTERVAL=0.5)
    (token,) = worker_rows(alias).values_list("token", flat=True)
    # Tasks of a queue that nobody reads: only the token can have the worker find them.
    results = jobs.note.delay_many([(str(notes), n) for n in range(3)])
    assert len(claim("taskq", 3, token, alias)) == 3
    worker.wait_for_log("3 messages that this worker held and did not know went back")
    start_worker("-n", "second")
    assert [result.get(timeout=60) for result in results] == [0, 1, 2]


def _set_read_only(alias: str, value: str) -> None:
    with connections[alias].cursor() as cursor:
        name = connections[alias].ops.quote_name(connections[alias].settings_dict["NAME"])
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}")


@postgresql
def test_worker_can_be_stopped_while_the_database_is_frozen(
    alias: str, proxy: Proxy, start_worker: StartWorker, notes: Path, full_run: bool
) -> None:
    if not full_run:
        pytest.skip("takes long; test_locks has another way in which a database hangs")
    worker = start_worker(SHUTDOWN_TIMEOUT=1)
    everything = trees.whole(worker.pid, 4)  # with the fork server and two children
    jobs.note.delay(str(notes), 1, 60)
    wait_until(lambda: _starts(notes), what="the task to start")
    proxy.freeze()
    worker.stop()
    wait_until(lambda: not any(trees.alive(pid) for pid in everything), what="all of its processes to be gone")


@postgresql
def test_tasks_end_once_while_the_server_ends_sessions_repeatedly(
    alias: str, database: Database, start_worker: StartWorker, notes: Path, full_run: bool, dice: Random
) -> None:
    worker = start_worker()
    with audit(alias):
        ids = _send(alias, notes, 2000 if full_run else 300, 0.005)
        _break_again_and_again(alias, worker, dice, lambda: _end_sessions(alias))
        _each_ended_once(alias, ids)
    _still_works(alias, worker, notes)


@postgresql
def test_worker_listens_again_at_once_after_a_cut(alias: str, start_worker: StartWorker, notes: Path) -> None:
    worker = start_worker(POLL_INTERVAL=600)
    for _ in range(3):
        wait_until(lambda: _end_sessions(alias, "LISTEN %"), what="the worker to listen")
        _still_works(alias, worker, notes)


def _end_sessions(alias: str, query: str = "%") -> int:
    """End all sessions of this database but our own."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE %s",
            [query],
        )
        return int(cursor.fetchone()[0])
