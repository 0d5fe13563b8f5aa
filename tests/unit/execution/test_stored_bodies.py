"""Bodies that stay in their rows until their tasks run: read there, put back, or discarded."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError

from taskq import task
from taskq.execution import stored_bodies
from taskq.models import Message, ScheduledMessage, TaskRun
from taskq.records import Envelope
from taskq.store import requeue
from taskq.store.claim import claim
from taskq.store.large import keep
from taskq.testing import running_worker
from tests.support.waiting import wait_until
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]

LARGE = "x" * 1024 * 1024


@task(name="stored.size")
def size_of(text: str) -> int:
    return len(text)


def test_message_goes_back_while_the_database_is_away(
    sent: list[Envelope], worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def fail(message_id: int, headers: str, properties: str) -> str:
        tries.append(message_id)
        raise OperationalError("the server is gone")

    monkeypatch.setattr(stored_bodies, "body_of", fail)
    monkeypatch.setattr(stored_bodies, "_PAUSES", (0.0, 0.0))
    size_of.delay("x")
    outcome = worker.run(stored_as=5)
    assert (outcome.state, outcome.requeue, tries) == ("REJECTED", True, [5, 5, 5])


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_large_body_is_read_where_the_task_runs(alias: str) -> None:
    with running_worker():
        assert size_of.delay(LARGE).get(timeout=60) == len(LARGE)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_message_whose_row_was_altered_is_discarded(alias: str, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(stored_bodies, "body_of", lambda *args: None)
    with running_worker():
        result = size_of.delay(LARGE)
        wait_until(lambda: not Message.objects.using(alias).exists(), what="an empty queue")
    assert TaskRun.objects.using(alias).get(task_id=result.id).state == "PENDING"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("delay", [0.0, 60.0])
def test_message_that_is_sent_again_keeps_its_body(alias: str, delay: float) -> None:
    size_of.delay(LARGE)
    (message,) = keep(claim("taskq", 1, "token", alias), "token", 1, alias, in_rows=True)
    assert message.in_row
    if delay:
        assert requeue.postpone("token", message, delay, alias)
    else:
        assert requeue.requeue_rejected("token", message, alias)
    rows = (ScheduledMessage if delay else Message).objects.using(alias)
    assert LARGE in rows.get().body
