"""Locks that others hold: the worker waits or tries again, and nothing is lost or written twice."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connections, transaction

from taskq import states
from taskq.models import Message, TaskRun
from taskq.store import workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.settle import settle
from tests.support.audit import audit, times_final
from tests.support.databases import Database
from tests.support.envelopes import ending, envelope
from tests.support.jobs import endings
from tests.support.jobs import tasks as jobs
from tests.support.processes import Processes
from tests.support.waiting import wait_until
from tests.support.workers import worker_rows

from .conftest import StartWorker

pytestmark = pytest.mark.faults
sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
#: What makes a database give up soon when it waits for a lock.
IMPATIENT = {
    "sqlite": "?timeout=1",
    "postgresql": "?options=-c%20lock_timeout%3D200",
    "mariadb": "?init_command=SET%20innodb_lock_wait_timeout%3D1",
}


@contextmanager
def _locked(database: Database) -> Iterator[None]:
    """Hold a lock on all runs, or all of SQLite's writing, on a connection of the test's own."""
    if database.vendor == "sqlite":
        with closing(sqlite3.connect(urlsplit(database.url).path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
        return
    with transaction.atomic(using=database.alias), connections[database.alias].cursor() as cursor:
        cursor.execute("SELECT id FROM taskq_taskrun FOR UPDATE")
        cursor.fetchall()
        yield


def _ended(alias: str) -> int:
    return TaskRun.objects.using(alias).filter(state__in=states.READY_STATES).count()


def test_tasks_that_end_while_their_rows_are_locked_are_settled_afterwards(
    clean_database: Database, processes: Processes, start_worker: StartWorker, notes: Path
) -> None:
    alias = clean_database.alias
    processes.environment["DATABASE_URL"] = clean_database.url + IMPATIENT[clean_database.vendor]
    with audit(alias):
        go_on = notes.with_name("go-on")
        calls = [(str(notes), str(go_on))] * 8
        ids = [result.id for result in endings.wait_for_file.delay_many(calls)]
        worker = start_worker("-c", "8")
        wait_until(lambda: len(notes.read_text().splitlines()) == 8, what="all tasks to run")
        with _locked(clean_database):
            go_on.touch()
            worker.wait_for_log("The database gave an error; trying again|Rows are locked by another transaction")
        wait_until(lambda: _ended(alias) == 8, what="all tasks to end")
        assert times_final(alias) == dict.fromkeys(ids, 1)
    assert len(notes.read_text().splitlines()) == 8
    assert worker.stop() == 0


@postgresql
def test_worker_stops_while_its_tables_are_locked_and_its_task_runs_again(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker("-n", "first", SHUTDOWN_TIMEOUT=1)
    jobs.note.delay(str(notes), 1, 1)
    wait_until(lambda: notes.read_text(), what="the task to start")
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        # No time-out: the store thread waits for as long as this is open.
        cursor.execute("LOCK TABLE taskq_message, taskq_worker IN ACCESS EXCLUSIVE MODE")
        os.kill(worker.pid, signal.SIGTERM)
        worker.wait_for_log("shutdown")
        worker.wait()
    start_worker("-n", "second")
    wait_until(lambda: _ended(alias) == 1, what="the task to end")
    assert not Message.objects.using(alias).exists()
    wait_until(lambda: worker_rows(alias).exclude(state="lost").count() == 1, what="the first worker to be lost")


# -- SQLite's disk


@pytest.fixture
def held(alias: str) -> tuple[str, list[object]]:
    enqueue([envelope() for _ in range(3)])
    token = workers.register("w")
    return token, [ending(m, result="x" * 50_000) for m in claim("taskq", 3, token)]


@sqlite
@pytest.mark.parametrize(
    ("statement", "back", "message"),
    [
        ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000", "full"),
        ("PRAGMA query_only = 1", "PRAGMA query_only = 0", "readonly"),
    ],
)
def test_settling_on_a_full_or_read_only_disk_fails_and_succeeds_afterwards(
    alias: str, held: tuple[str, list[object]], statement: str, back: str, message: str
) -> None:
    from django.db import OperationalError

    token, ends = held
    with connections[alias].cursor() as cursor:
        cursor.execute("VACUUM")  # what other tests deleted would be room
        cursor.execute(statement)
        try:
            with pytest.raises(OperationalError, match=message):
                settle(token, ends)  # type: ignore[arg-type]
        finally:
            cursor.execute(back)
    assert _ended(alias) == 0
    assert Message.objects.using(alias).filter(token=token).count() == 3
    assert len(settle(token, ends)) == 3  # type: ignore[arg-type]


@sqlite
def test_worker_goes_on_and_settles_once_when_the_disk_has_room_again(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    resource = pytest.importorskip("resource")
    worker = start_worker()
    usual = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    with audit(alias):
        # No file may grow beyond this, nor be written there: its own log is shorter, the database is not.
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (32 * 1024, usual[1]))
        ids = [result.id for result in jobs.note.delay_many([(str(notes), n, 0.01) for n in range(30)])]
        worker.wait_for_log("The database gave an error; trying again")
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, usual)
        wait_until(lambda: _ended(alias) == 30, what="all tasks to end")
        assert times_final(alias) == dict.fromkeys(ids, 1)
    assert worker.stop() == 0


@contextmanager
def _immutable(path: Path) -> Iterator[None]:
    """Have a database's files refuse every write, also root's and by whom they are open; skip where that can't be."""
    chattr = shutil.which("chattr")
    files = [str(file) for file in path.parent.glob(f"{path.name}*")]
    if chattr is None or subprocess.run([chattr, "+i", *files], check=False, capture_output=True).returncode:
        pytest.skip("Files can't be made immutable here.")
    try:
        with pytest.raises(PermissionError):
            path.open("r+b")
        yield
    finally:
        subprocess.run([chattr, "-i", *files], check=True)


@sqlite
def test_worker_goes_on_when_its_database_file_is_writable_again(
    clean_database: Database, start_worker: StartWorker, notes: Path
) -> None:
    alias, worker = clean_database.alias, start_worker()
    with audit(alias):
        ids = [result.id for result in jobs.note.delay_many([(str(notes), n, 0.05) for n in range(30)])]
        wait_until(lambda: notes.read_text(), what="the first task to start")
        with _immutable(Path(urlsplit(clean_database.url).path)):
            worker.wait_for_log("The database gave an error; trying again")
            worker.wait_for_log("readonly database")
        wait_until(lambda: _ended(alias) == 30, what="all tasks to end")
        assert times_final(alias) == dict.fromkeys(ids, 1)
    assert len(notes.read_text().splitlines()) == 30
    assert worker.stop() == 0
