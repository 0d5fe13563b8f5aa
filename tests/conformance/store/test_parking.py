"""Messages that wait for a rate limit: parked, found, claimed in order, purged, revoked, and sealed."""

from __future__ import annotations

import pytest
from django.test import override_settings

from taskq.messages.parking import PREFIX, parking
from taskq.messages.protocol.sealing import seal
from taskq.models import Message, TaskRun
from taskq.store import consuming, readers, workers
from taskq.store.authenticity import runnable
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.parking import park, park_waiting, parkings
from taskq.store.recover import requeue_held
from taskq.store.revoke import revoke
from tests.support.envelopes import envelope

PARKED = parking("taskq", "shop.add")


@pytest.fixture
def token(alias: str) -> str:
    return workers.register("w")


def test_parked_messages_leave_their_queue_and_keep_their_order(alias: str, token: str) -> None:
    enqueue([envelope(str(n), priority=n % 2) for n in range(6)])
    park(token, claim("taskq", 2, token), "shop.add")
    assert park_waiting("taskq", "shop.other") == 0
    assert park_waiting("taskq", "shop.add") == 4
    assert claim("taskq", 10, token) == []
    assert [m.task_id for m in claim(PARKED, 10, token)] == ["1", "3", "5", "0", "2", "4"]


def test_message_that_is_not_held_is_not_parked_and_a_revoked_one_goes_back(alias: str, token: str) -> None:
    enqueue([envelope("a"), envelope("b"), envelope("c")])
    held = claim("taskq", 3, token)
    Message.objects.using(alias).update(acked=True)
    revoke(["b"])
    park("other", held[:1], "shop.add")
    assert claim(PARKED, 10, token) == []
    park(token, held, "shop.add")
    assert [(m.task_id, m.revoked) for m in claim("taskq", 10, token)] == [("b", "revoke")]
    assert [m.task_id for m in claim(PARKED, 10, token)] == ["a", "c"]
    assert not Message.objects.using(alias).filter(acked=True).exists()


def test_start_that_was_counted_for_reading_a_redelivered_message_is_taken_back(alias: str, token: str) -> None:
    enqueue([envelope("a")])
    Message.objects.using(alias).update(redelivered=True, deliveries=1)
    held = claim("taskq", 1, token)
    Message.objects.using(alias).update(deliveries=2)
    park(token, held, "shop.add")
    assert Message.objects.using(alias).get().deliveries == 1


def test_parkings_are_found_by_their_queues(alias: str, token: str) -> None:
    for queue in ("a", "b", "zz"):
        enqueue([envelope(queue=queue), envelope(queue=queue, name="shop.mail")])
        assert park_waiting(queue, "shop.add") == park_waiting(queue, "shop.mail") == 1
    enqueue([envelope(queue="zzz"), envelope(queue="\x1e")])
    assert len(parkings()) == 6
    assert parkings(["a", "c"]) == {parking("a", "shop.add"), parking("a", "shop.mail")}
    assert all(name.startswith(PREFIX) for name in parkings())


def test_parked_task_is_counted_revoked_and_purged_as_one_of_its_queue(alias: str) -> None:
    enqueue([envelope("a"), envelope("b"), envelope("c", name="shop.mail")])
    park_waiting("taskq", "shop.add")
    assert consuming.count("taskq", alias) == 3
    assert readers.waiting_queues() == {"taskq"}
    assert readers.unread(["a"]) == {"taskq": "a"}
    assert revoke(["a"]) == 1
    assert consuming.purge("taskq", alias) == 2
    assert not Message.objects.using(alias).exists()
    assert set(TaskRun.objects.using(alias).values_list("state", flat=True)) == {"REVOKED"}


@override_settings(TASKQ_SIGNING=True)
def test_seal_holds_while_a_message_is_parked(alias: str, token: str) -> None:
    envelopes = [envelope("a"), envelope("b")]
    seal(envelopes)
    enqueue(envelopes)
    park(token, claim("taskq", 1, token), "shop.add")
    (message,) = claim(PARKED, 1, token)
    assert runnable(token, [message], alias) == [message]
    assert revoke(["a", "b"]) == 2


def test_revoked_message_that_waits_is_not_parked(alias: str) -> None:
    enqueue([envelope("a"), envelope("b")])
    Message.objects.using(alias).filter(task_id="b").update(revoked="revoke")
    assert park_waiting("taskq", "shop.add") == 1
    assert Message.objects.using(alias).get(task_id="b").queue == "taskq"


def test_run_of_a_parked_untracked_task_has_the_name_of_its_queue(alias: str, token: str) -> None:
    enqueue([envelope("a"), envelope("b")])
    TaskRun.objects.using(alias).all().delete()
    Message.objects.using(alias).update(tracked=False)
    park_waiting("taskq", "shop.add")
    revoke(["a"])
    assert [m.task_id for m in claim(PARKED, 10, token)] == ["b"]
    Message.objects.using(alias).update(acked=True)
    requeue_held(token, alias)
    assert dict(TaskRun.objects.using(alias).values_list("state", "queue")) == {"REVOKED": "taskq", "FAILURE": "taskq"}
