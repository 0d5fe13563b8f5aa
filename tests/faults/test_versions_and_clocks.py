"""Deploys with an old and a new version side by side, and clocks that leap."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.models.fields import NOT_PROVIDED

from taskq.models import Message, TaskRun, Worker
from taskq.store import peers, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.worker.duties import lease as lease_module
from taskq.worker.duties.lease import WorkerLease
from taskq.worker.pools import frames
from tests.support.envelopes import envelope
from tests.support.jobs import tasks as jobs
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = pytest.mark.faults
TABLES = ("taskq_message", "taskq_scheduledmessage", "taskq_taskrun", "taskq_worker", "taskq_attempt")


# -- versions


@pytest.fixture
def newer_tables(alias: str) -> Iterator[None]:
    """Add what the migrations of a newer version may: columns with a default in the database, or none."""
    with connections[alias].cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN newer_count integer DEFAULT 7 NOT NULL")
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN newer_text varchar(20) NULL")
    yield
    with connections[alias].cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} DROP COLUMN newer_count")
            cursor.execute(f"ALTER TABLE {table} DROP COLUMN newer_text")


@pytest.mark.usefixtures("newer_tables")
def test_worker_runs_on_tables_of_a_newer_version(alias: str, start_worker: StartWorker, notes: Path) -> None:
    start_worker()
    results = jobs.note.delay_many([(str(notes), n) for n in range(20)])
    results += [jobs.fail_twice.delay(str(notes)), jobs.note.apply_async((str(notes), 99), countdown=0.5)]
    wait_until(lambda: all(result.ready() for result in results), what="all tasks to end")
    assert all(result.successful() for result in results)
    assert not Message.objects.using(alias).exists()


def test_migrations_only_add_columns_that_older_versions_may_leave_out() -> None:
    graph = MigrationLoader(None)
    later = [m for (app, name), m in graph.disk_migrations.items() if app == "taskq" and name != "0001_initial"]
    allowed = (migrations.AddField, migrations.CreateModel, migrations.AddIndex, migrations.RunPython,
               migrations.AddConstraint, migrations.SeparateDatabaseAndState, migrations.RunSQL)  # fmt: skip
    assert later
    for migration in later:
        for operation in migration.operations:
            if isinstance(operation, migrations.AlterField | migrations.AlterModelOptions):
                continue
            assert isinstance(operation, allowed), f"{migration}: {operation} takes something from older versions"
            if isinstance(operation, migrations.AddField):
                assert _is_optional(operation.field), f"{migration}: {operation.name} needs null or db_default"


def _is_optional(field: models.Field[Any, Any]) -> bool:
    return field.null or getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED


def test_frame_of_a_newer_format_is_refused_naming_both_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = socket.socketpair()
    with here, there:
        monkeypatch.setattr(frames, "FORMAT", frames.FORMAT + 1)
        newer = frames.encode(1, ())
        monkeypatch.undo()
        there.sendall(newer)
        with pytest.raises(frames.UnreadableError, match=f"format {frames.FORMAT + 1}.*knows {frames.FORMAT}"):
            list(frames.FrameReader().feed(here.recv(65536)))


# -- clocks


def _lease(alias: str, name: str, seconds: float = 30.0) -> WorkerLease:
    return WorkerLease(name, seconds, alias, info=dict, on_revoked=lambda asked: None, on_lost=lambda ids: None)


@pytest.mark.parametrize("leap", [365 * 86400.0, -365 * 86400.0])
def test_clock_leap_declares_no_worker_dead(alias: str, monkeypatch: pytest.MonkeyPatch, leap: float) -> None:
    monkeypatch.setattr(peers, "process_exited", lambda other: False)
    enqueue([envelope(), envelope()])
    watching, watched = _lease(alias, "watching"), _lease(alias, "watched")
    watching.heartbeat()
    watched.heartbeat()
    claim("taskq", 2, watched.token)
    now = time.time
    for _ in range(3):
        watching._recover_dead_peers()
        monkeypatch.setattr(time, "time", lambda: now() + leap)
        watching.heartbeat()
        assert watching.is_valid
    assert Worker.objects.using(alias).count() == 2
    assert Message.objects.using(alias).filter(token=watched.token).count() == 2
    assert workers.heartbeat(watched.token)


def test_worker_that_was_away_for_a_lease_declares_nobody_dead(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen, or without a database, for longer than a lease: the others may not have been able to beat either."""
    monkeypatch.setattr(peers, "process_exited", lambda other: False)
    watching, watched = _lease(alias, "watching"), _lease(alias, "watched")
    watched.heartbeat()
    watching.heartbeat()
    watching._recover_dead_peers()
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 31)
    assert not watching.is_valid
    watching._recover_dead_peers()
    assert Worker.objects.using(alias).count() == 2
    for later in (41, 51, 62):
        monkeypatch.setattr(time, "monotonic", lambda later=later: monotonic() + later)
        watching._recover_dead_peers()
    states = dict(Worker.objects.using(alias).values_list("name", "state"))
    assert states == {"watching": "running", "watched": "lost"}


def test_worker_declared_dead_reports_lost_messages_though_the_database_fails(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    lost: list[set[int]] = []
    enqueue([envelope()])
    lease = WorkerLease("w", 30.0, alias, info=dict, on_revoked=lambda asked: None, on_lost=lost.append)
    lease.heartbeat()
    before = lease.token
    lease.take([message.id for message in claim("taskq", 1, before)])
    Worker.objects.using(alias).all().delete()

    def fail(token: str, alias: str) -> int:
        raise OperationalError("gone again")

    monkeypatch.setattr(lease_module, "requeue_held", fail)
    with pytest.raises(OperationalError):
        lease.heartbeat()
    monkeypatch.undo()
    lease.heartbeat()
    assert [len(ids) for ids in lost] == [1]
    assert lease.token not in ("", before)
    assert not TaskRun.objects.using(alias).exclude(state="PENDING").exists()
