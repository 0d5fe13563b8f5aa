"""Times that a caller gives count by the database's clock, though the sender's is an hour off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings

from taskq import clock, task
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Message, Queue, ScheduledMessage, TaskRun, Worker
from taskq.store import consuming, topology, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.promote import promote
from taskq.store.requeue import postpone
from tests.support.envelopes import envelope

HOUR = 3600.0
pytestmark = pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)


@task(name="clocks.add")
def add(x: int, y: int) -> int:
    return x + y


@pytest.fixture(params=[HOUR, -HOUR], ids=["ahead", "behind"])
def wrong_clock(request: pytest.FixtureRequest, alias: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set this process's clock an hour off."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + request.param)
    yield
    clock.use(None)


def seconds_to(moment: datetime | None, alias: str) -> float:
    assert moment is not None
    return moment.timestamp() - for_alias(alias).now()


def in_seconds(seconds: float, alias: str) -> datetime:
    return datetime.fromtimestamp(for_alias(alias).now(), UTC) + timedelta(seconds=seconds)


@pytest.mark.usefixtures("wrong_clock")
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("how", ["countdown", "eta"])
def test_message_is_due_by_the_databases_clock(alias: str, how: str, track: bool) -> None:
    options: dict[str, Any] = {"countdown": 100} if how == "countdown" else {"eta": in_seconds(100, alias)}
    with override_settings(TASKQ_TRACK_PENDING=track):
        add.apply_async((2, 2), **options)
    assert seconds_to(ScheduledMessage.objects.using(alias).get().due_at, alias) == pytest.approx(100, abs=20)
    if track:
        assert seconds_to(TaskRun.objects.using(alias).get().eta, alias) == pytest.approx(100, abs=20)


@pytest.mark.usefixtures("wrong_clock")
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("how", ["seconds", "moment"])
@pytest.mark.parametrize("many", [False, True])
def test_message_expires_by_the_databases_clock(alias: str, how: str, track: bool, many: bool) -> None:
    expires = 100 if how == "seconds" else in_seconds(100, alias)
    with override_settings(TASKQ_TRACK_PENDING=track):
        if many:
            add.delay_many([(2, 2), (3, 3)], expires=expires)
        else:
            add.apply_async((2, 2), expires=expires)
    message = Message.objects.using(alias).first()
    assert message is not None
    assert seconds_to(message.expires_at, alias) == pytest.approx(100, abs=20)
    if track:
        run = TaskRun.objects.using(alias).get(task_id=message.task_id)
        assert seconds_to(run.expires_at, alias) == pytest.approx(100, abs=20)
    held = claim(settings.DEFAULT_QUEUE, 1, "t", alias)[0]
    assert held.expires_in == pytest.approx(100, abs=20)


@pytest.mark.usefixtures("wrong_clock")
def test_eta_of_the_past_runs_though_the_sender_takes_it_for_later(alias: str) -> None:
    add.apply_async((2, 2), eta=in_seconds(-5, alias))
    assert len(promote(alias=alias)) == 1
    (held,) = claim(settings.DEFAULT_QUEUE, 1, "t", alias)
    assert held.promoted


def test_postponed_message_keeps_its_expiry_and_is_promoted(alias: str) -> None:
    enqueue([envelope("x", expires_in=100.0)])
    (held,) = claim("taskq", 1, "t", alias)
    assert not held.promoted
    assert postpone("t", held, 50.0)
    row = ScheduledMessage.objects.using(alias).get()
    assert seconds_to(row.expires_at, alias) == pytest.approx(100, abs=20)
    assert seconds_to(row.due_at, alias) == pytest.approx(50, abs=20)


@pytest.mark.usefixtures("wrong_clock")
def test_claim_tells_when_a_message_was_written(alias: str) -> None:
    add.delay(2, 2)
    (row,) = Message.objects.using(alias).all()
    (held,) = claim(settings.DEFAULT_QUEUE, 1, "t", alias)
    assert held.created == pytest.approx(row.created_at.timestamp(), abs=0.001)
    assert seconds_to(row.created_at, alias) == pytest.approx(0, abs=20)


@pytest.mark.usefixtures("wrong_clock")
def test_rows_of_workers_and_queues_have_the_databases_time(alias: str) -> None:
    token = workers.register("w", alias=alias)
    assert workers.heartbeat(token, alias=alias)
    row = Worker.objects.using(alias).get()
    assert abs(seconds_to(row.seen_at, alias)) < 20
    assert abs(seconds_to(row.started_at, alias)) < 20
    topology.declare_queue("q", topology.QueueOptions(expires=600.0), alias)
    assert abs(seconds_to(Queue.objects.using(alias).get().used_at, alias)) < 20
    assert topology.sweep(alias) == []


@pytest.mark.usefixtures("wrong_clock")
def test_consumer_of_kombu_drops_messages_by_the_databases_clock(alias: str) -> None:
    enqueue([envelope("a", expires_in=600.0), envelope("b", expires_in=-1.0)])
    assert consuming.count("taskq", alias) == 1
    assert [message.task_id for message in consuming.claim("taskq", 5, "t", alias)] == ["a"]


@pytest.mark.usefixtures("wrong_clock")
def test_measured_clock_is_the_databases(alias: str) -> None:
    for_alias(alias).measure_clock()
    assert clock.now() == pytest.approx(for_alias(alias).now(), abs=5)
