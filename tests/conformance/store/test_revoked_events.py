"""Monitors hear of tasks that are revoked while no worker holds them, once that is committed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import transaction

from taskq import chain
from taskq.events.sent import SentEvents
from taskq.records import Settlement
from taskq.store import log_lines
from taskq.store.claim import claim
from taskq.store.revoke import revoke
from tests.support.jobs.flows import add
from tests.support.worker_here import WorkerHere


@pytest.fixture
def told() -> Iterator[list[tuple[str, str]]]:
    found: list[tuple[str, str]] = []

    def tell(settlements: list[Settlement]) -> None:
        found.extend((s.task_id, s.name) for s in settlements)

    log_lines.tasks_revoked.subscribe(tell)
    yield found
    log_lines.tasks_revoked.unsubscribe(tell)


def test_waiting_task_and_its_dependents_are_told_of_with_their_names(alias: str, told: list[tuple[str, str]]) -> None:
    result = chain(add.s(1, 1), add.s(1)).apply_async()
    revoke([result.parent.id], alias=alias)
    assert sorted(told) == sorted([(result.parent.id, add.name), (result.id, add.name)])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_nothing_is_told_of_what_is_rolled_back_or_of_what_a_worker_holds(
    alias: str, told: list[tuple[str, str]]
) -> None:
    result = add.delay(1, 1)
    with transaction.atomic(using=alias):
        revoke([result.id], alias=alias)
        transaction.set_rollback(True, using=alias)
    assert told == []
    claim("taskq", 1, WorkerHere(alias).token, alias)
    revoke([result.id], alias=alias)
    assert told == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_process_that_revokes_sends_the_event(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events = SentEvents()
    monkeypatch.setattr(events, "_thread", object())
    log_lines.tasks_revoked.subscribe(events.note_revoked)
    try:
        result = add.apply_async((1, 1), shadow="addition")
        result.revoke()
    finally:
        log_lines.tasks_revoked.unsubscribe(events.note_revoked)
    (event,) = events._events
    assert event.pop("timestamp") > 0
    assert event == {
        "type": "task-revoked",
        "uuid": result.id,
        "name": "addition",
        "terminated": False,
        "expired": False,
        "signum": None,
    }
