"""Ends that a database does not take, and messages that are there twice: the others are settled all the same."""

from __future__ import annotations

import json

import pytest

from taskq import states
from taskq.models import Message, TaskRun
from taskq.records import FollowUps, Settlement
from taskq.store import recover, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.revoke import revoke
from taskq.store.settle import settle
from tests.support.databases import Database
from tests.support.envelopes import ending, envelope

pytestmark = pytest.mark.faults
servers = pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)


def _claimed(*envelopes: object) -> tuple[str, list[Settlement]]:
    enqueue(envelopes)  # type: ignore[arg-type]
    token = workers.register("w")
    return token, [ending(message) for message in claim("taskq", 100, token)]


@servers
@pytest.mark.parametrize(
    "changes", [{"root_id": "r" * 300}, {"group_id": "g" * 300}, {"retries": 10**12}, {"name": "n" * 300}]
)
def test_end_with_fields_too_large_for_their_columns_becomes_a_failure(alias: str, changes: dict[str, object]) -> None:
    token, ends = _claimed(*(envelope(tracked=False) for _ in range(3)))
    for name, value in changes.items():
        setattr(ends[1], name, value)
    assert settle(token, ends) == {end.message_id for end in ends}
    ended = dict(TaskRun.objects.using(alias).values_list("task_id", "state"))
    assert ended == {ends[0].task_id: "SUCCESS", ends[1].task_id: "FAILURE", ends[2].task_id: "SUCCESS"}


@servers
def test_end_of_which_nothing_can_be_stored_is_dropped_and_stops_no_other(alias: str) -> None:
    token, ends = _claimed(*(envelope(tracked=False) for _ in range(3)))
    ends[1].queue = "q" * 300
    ends[1].worker = "w" * 300
    assert settle(token, ends) == {end.message_id for end in ends}
    assert not Message.objects.using(alias).exists()
    assert TaskRun.objects.using(alias).filter(state="SUCCESS").count() == 2


@pytest.mark.parametrize("tracked", [True, False])
def test_id_that_is_twice_in_a_batch_ends_once(alias: str, tracked: bool) -> None:
    token, ends = _claimed(envelope("x", tracked=tracked), envelope("y"), envelope("x", tracked=tracked))
    for number, end in enumerate(ends):
        end.result = str(number)
    assert settle(token, ends) == {end.message_id for end in ends}
    runs = dict(TaskRun.objects.using(alias).values_list("task_id", "result"))
    assert runs.keys() == {"x", "y"}
    assert runs["x"] in {"0", "2"}


def test_retry_of_a_task_revoked_while_it_ran_is_not_sent(alias: str) -> None:
    token, (end, other) = _claimed(envelope("x"), envelope("y"))
    assert revoke(["x"]) == 1
    for retried in (end, other):
        retried.state = "RETRY"
        retried.follow_ups = FollowUps([envelope(retried.task_id, reset=False, delay=0)])
    settle(token, [end, other])
    ended = dict(TaskRun.objects.using(alias).values_list("task_id", "state"))
    assert ended["x"] == states.REVOKED
    assert ended["y"] == states.RETRY
    result = TaskRun.objects.using(alias).get(task_id="x").result
    assert json.loads(result or "")["exc_type"] == "TaskRevokedError"
    assert set(Message.objects.using(alias).values_list("task_id", flat=True)) == {"y"}


def test_worker_that_beats_during_recovery_is_not_declared_dead(alias: str, database: Database) -> None:
    """A project that listens to every deletion makes Django read rows before it deletes them."""
    from django.db.models.signals import pre_delete

    token = workers.register("w")
    beaten: list[bool] = []

    def beat_meanwhile(sender: object, **kwargs: object) -> None:
        if not beaten:
            beaten.append(workers.heartbeat(token))

    pre_delete.connect(beat_meanwhile)
    try:
        assert recover.recover(token, 0) == 0 or beaten
    finally:
        pre_delete.disconnect(beat_meanwhile)
    assert not beaten
