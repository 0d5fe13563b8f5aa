"""Messages that wait for a rate limit: how a source parks them, and claims them when their time comes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import OperationalError

from taskq.messages.parking import parking
from taskq.models import Message
from taskq.records import Claimed
from taskq.store.claim import claim
from taskq.store.parking import park, park_waiting
from taskq.worker.duties import database_source as source_module
from taskq.worker.duties import parking as parking_module
from taskq.worker.duties.parking import Parking
from taskq.worker.duties.queue_front import QueueFront
from tests.support.waiting import wait_until
from tests.unit.worker.duties.taken import Taken, send

pytestmark = pytest.mark.django_db(transaction=True)


def test_parkings_of_a_queue_that_is_no_longer_read_are_left_alone() -> None:
    send("a", 1)
    park_waiting("a", "shop.add")
    taken = Taken("a")
    taken.source.set_rate("shop.add", 100.0)
    taken.source.remove("a")
    taken.source.note_parked("a", parking("a", "shop.add"))
    assert not taken.source.work()
    assert taken.messages == []


def test_messages_of_a_token_whose_parking_fails_are_parked_later(monkeypatch: pytest.MonkeyPatch) -> None:
    send("a", 2)
    taken = Taken("a")
    taken.source.work()
    first, second = taken.messages
    duty = Parking(taken.lease, "default", taken.source)
    duty.park([("shop.add", first), ("shop.add", second)])
    taken.lease._holders[second.id] = "old"

    def fail(token: str, *args: Any) -> None:
        if token == "old":
            raise OperationalError("the answer was lost")
        park(token, *args)

    with monkeypatch.context() as patch:
        patch.setattr(parking_module, "park", fail)
        with pytest.raises(OperationalError):
            duty.work()
    assert not duty.done
    duty.work()
    assert duty.done


def test_messages_that_are_parked_when_the_others_have_started_start_too() -> None:
    send("a", 2)
    taken = Taken("a")
    taken.source.set_rate("shop.add", 1_000_000.0)
    taken.source.work()
    duty = Parking(taken.lease, "default", taken.source)
    duty.park([("shop.add", message) for message in taken.messages])
    send("a", 2)
    assert duty.work()
    wait_until(lambda: taken.source.work() or len(taken.messages) == 6)
    # This worker has not claimed these two.
    send("a", 2)
    duty.work()
    wait_until(lambda: taken.source.work() or len(taken.messages) == 8)
    assert all(message.granted for message in taken.messages[2:])


def test_first_claim_waits_for_no_look_for_parkings(monkeypatch: pytest.MonkeyPatch) -> None:
    send("a", 1)
    taken = Taken("a")
    held: list[int] = []
    monkeypatch.setattr(source_module, "parkings", lambda queues, alias: held.append(taken.lease.held) or set())
    taken.source.work()
    assert held == [1]


def test_source_finds_what_another_worker_has_parked_though_no_notification_names_it() -> None:
    taken = Taken()
    taken.source.set_rate("shop.add", 100.0)
    taken.source.work()
    send("a", 1)
    assert park_waiting("a", "shop.add") == 1
    taken.source.on_notification(None)

    def found() -> bool:
        taken.source.work()
        return [message.granted for message in taken.messages] == [True]

    wait_until(found)
    assert taken.queues() == {"a": 1}


def test_parked_messages_wake_no_source_that_may_not_claim() -> None:
    taken = Taken()
    taken.source.work()
    taken.source.limits.note_parked([parking("a", "shop.add")])
    due = taken.source.due()
    assert due is not None
    assert due <= 0
    taken.lease.seconds = 0.0  # it is not valid any more
    due = taken.source.due()
    assert due is not None
    assert due > 1


def test_parking_is_claimed_from_behind_its_front_while_looks_from_the_start_are_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def claim_behind(queue: str, limit: int, token: str, alias: str, *, after: Any = None) -> list[Claimed]:
        """As PostgreSQL does; this database looks from the start always."""
        asked.append(after and dict(after))
        found = claim(queue, 100, token, alias)
        return [message for message in found if after is None or message.id > after[message.priority]][:limit]

    monkeypatch.setattr(source_module, "claim", claim_behind)
    taken, name = Taken(), parking("a", "shop.add")
    taken.source.set_rate("shop.add", 1_000_000.0)
    send("a", 2)
    assert park_waiting("a", "shop.add") == 2
    front = taken.source._fronts[name] = QueueFront(keeps_dead_entries=True)
    limits = taken.source.limits
    limits.note_parked([name])
    assert taken.source._claim_parked(name, 1) == 1
    # As under an old transaction: a look from the start has to pass for now.
    front.pace.next_look = time.monotonic() + 3600
    Message.objects.filter(queue=name).update(token="")
    wait_until(lambda: taken.source._claim_parked(name, 2))
    assert asked == [None, {0: taken.messages[0].id}]
    assert limits.ready() == [], "what comes late is found by the next look from the start"
    assert limits.next_free == front.pace.next_look
    front.pace.next_look = 0.0
    wait_until(lambda: taken.source._claim_parked(name, 2) or not limits._occupied)
    assert asked[2] is None


def test_nothing_more_is_parked_once_the_limit_is_gone() -> None:
    taken = Taken()
    taken.source.set_rate("shop.add", 1.0)
    duty = Parking(taken.lease, "default", taken.source)
    send("a", 3)
    taken.source.work()
    duty.park([("shop.add", message) for message in taken.messages])
    send("a", 2)
    taken.source.set_rate("shop.add", None)
    duty.work()
    assert Message.objects.filter(queue="a").count() == 2
    taken.source.set_rate("shop.add", 1.0)
    duty._more.add(("a", "shop.add"))
    duty.work()
    assert Message.objects.filter(queue="a").count() == 0
