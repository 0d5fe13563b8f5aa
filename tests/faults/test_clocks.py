"""Workers and senders whose clock is an hour off: times are the database's."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.test import override_settings

from taskq.engines import for_alias
from taskq.models import Message, ScheduledMessage, TaskRun
from tests.support.jobs import tasks as jobs
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = pytest.mark.faults
HOUR = 3600.0
SHIFTED = str(ROOT / "tests" / "support" / "shifted_clock")


@pytest.mark.parametrize(
    ("database", "pool", "shift"),
    [
        ("postgresql", "prefork", HOUR),
        ("postgresql", "threads", -HOUR),
        ("mariadb", "prefork", -HOUR),
    ],
    indirect=["database"],
)
def test_worker_with_a_wrong_clock_works_by_the_databases(
    alias: str, start_worker: StartWorker, notes: Path, monkeypatch: pytest.MonkeyPatch, pool: str, shift: float
) -> None:
    environment = {"PYTHONPATH": SHIFTED, "CLOCK_SHIFT": str(shift), "TEST_APPS": "tests.support.jobs"}
    start_worker("-P", pool, environment=environment)
    path, real, began = str(notes), time.time, for_alias(alias).now()
    results, late = [], []
    for sender in (0.0, HOUR, -HOUR):
        monkeypatch.setattr(time, "time", lambda sender=sender: real() + sender)
        eta = datetime.fromtimestamp(began + 1, UTC)
        for track in (True, False):
            with override_settings(TASKQ_TRACK_PENDING=track):
                results.append(jobs.note.apply_async((path, 1), countdown=0.5))
                results.append(jobs.note.apply_async((path, 2), eta=eta, expires=600))
                results.append(jobs.note.apply_async((path, 3), expires=eta + timedelta(seconds=600)))
                results.append(jobs.send_later.apply_async((path,)))
                results.append(jobs.retry_soon.apply_async((path,), expires=600))
                late.append(jobs.note.apply_async((path, 4), expires=eta - timedelta(seconds=30)))
    monkeypatch.setattr(time, "time", real)
    wait_until(lambda: all(result.ready() for result in [*results, *late]), 60, what="all tasks to end")
    assert {result.state for result in results} == {"SUCCESS"}
    assert {result.state for result in late} == {"REVOKED"}
    # Sent by ``send_later``.
    wait_until(lambda: not ScheduledMessage.objects.using(alias).exists(), what="the schedule to be empty")
    wait_until(lambda: not Message.objects.using(alias).exists(), what="the last messages to be settled")
    ended = for_alias(alias).now()
    for run in TaskRun.objects.using(alias):
        for moment in (run.created_at, run.started_at or run.finished_at, run.finished_at):
            assert moment is not None
            assert began - 5 < moment.timestamp() < ended + 5, run
