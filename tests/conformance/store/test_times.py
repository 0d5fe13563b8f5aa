"""Times in rows are UTC and have a zone, whatever Django's settings say of zones: engines and models write the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from taskq import states
from taskq.models import Queue, ScheduledMessage, TaskRun, Worker
from taskq.store import consuming, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.settle import settle
from tests.support.envelopes import ending, envelope
from tests.support.retention import expire

#: When clocks in New York show 01:30 for the second time; what has no zone can't tell which it was.
TWICE = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)


@pytest.fixture(params=["USE_TZ off", "a zone of the database's own"], autouse=True)
def odd_zone(request: pytest.FixtureRequest, alias: str) -> Iterator[None]:
    """Give Django another idea of time than UTC."""
    if request.param == "USE_TZ off":
        with override_settings(USE_TZ=False, TIME_ZONE="America/New_York"):
            yield
        return
    connection: Any = connections[alias]
    before = connection.settings_dict["TIME_ZONE"]
    try:
        _use_zone(connection, "America/New_York")
        yield
    finally:
        _use_zone(connection, before)


def _use_zone(connection: Any, name: str | None) -> None:
    connection.close()
    connection.settings_dict["TIME_ZONE"] = name
    connection.__dict__.pop("timezone", None)
    connection.__dict__.pop("timezone_name", None)


def near(moment: datetime | None, seconds: float = 0.0) -> bool:
    """Tell whether ``moment`` is now, or in so many seconds."""
    assert moment is not None
    return abs(moment - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=20)


def test_worker_row_has_times_in_utc(alias: str) -> None:
    token = workers.register("w")
    assert workers.heartbeat(token)
    row = Worker.objects.using(alias).get()
    assert near(row.seen_at)
    assert near(row.started_at)


def test_times_written_by_the_engine_are_read_by_the_models(alias: str) -> None:
    enqueue([envelope("x", expires=time.time() + 100), envelope("y", delay=500.0)])
    run = TaskRun.objects.using(alias).get(task_id="x")
    assert near(run.created_at)
    assert near(run.expires_at, 100)
    assert near(TaskRun.objects.using(alias).get(task_id="y").eta, 500)
    assert near(ScheduledMessage.objects.using(alias).get().due_at, 500)


def test_expired_message_is_not_counted_as_waiting(alias: str) -> None:
    enqueue([envelope("late", expires=time.time() - 5), envelope("good", expires=time.time() + 3000)])
    assert consuming.count("taskq", alias) == 1


def test_time_written_by_a_model_is_read_and_filtered_unchanged(alias: str) -> None:
    row = Queue.objects.using(alias).create(name="q", used_at=TWICE)
    row.refresh_from_db()
    assert row.used_at == TWICE
    assert Queue.objects.using(alias).filter(used_at=row.used_at, used_at__lte=TWICE).exists()
    assert not Queue.objects.using(alias).filter(used_at__lt=TWICE).exists()


def test_runs_expire_by_their_age_in_utc(alias: str) -> None:
    enqueue([envelope("x")])
    token = workers.register("w")
    (held,) = claim("taskq", 1, token)
    settle(token, [ending(held, finished=time.time() - 600)])
    assert expire(states.SUCCESS, timedelta(seconds=1200)) == 0
    assert expire(states.SUCCESS, timedelta(seconds=300)) == 1
