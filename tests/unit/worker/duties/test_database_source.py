"""The source: which queues it looks at, how much it takes, and what a claim that broke off leaves behind."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from taskq.engines.marks import mark
from taskq.models import ScheduledMessage
from taskq.records import Claimed
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.worker.duties import database_source as source_module
from taskq.worker.duties.pace import Pace
from taskq.worker.duties.queue_front import QueueFront
from tests.support.envelopes import envelope
from tests.support.waiting import wait_until
from tests.unit.worker.duties.taken import Taken, send

pytestmark = pytest.mark.django_db(transaction=True)


def test_source_claims_as_many_as_there_is_room_for_but_no_small_batches() -> None:
    send("a", 15)
    taken = Taken()
    taken.source.work()
    assert len(taken.messages) == taken.lease.held == 10
    taken.source.work()
    assert len(taken.messages) == 10
    taken.source.ended = lambda: 2
    taken.source.work()
    assert len(taken.messages) == 10, "a small claim is not worth it"
    taken.source.ended = lambda: 5
    taken.source.work()
    assert len(taken.messages) == 15


def test_no_slot_is_left_without_a_message_because_the_claim_would_be_small() -> None:
    send("a", 11)
    taken = Taken(target=8)
    taken.source.slots = 8
    taken.source.work()
    assert len(taken.messages) == 8
    taken.source.ended = lambda: 1
    taken.source.work()
    assert len(taken.messages) == 9, "one slot is idle"
    taken.source.target = 10
    taken.source.work()
    assert len(taken.messages) == 9, "two would be held beyond those that run"
    taken.source.ended = lambda: 2
    taken.source.work()
    assert len(taken.messages) == 11


def test_queue_is_looked_at_from_its_start_again_after_a_claim_behind_its_front(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send("a", 4)
    taken = Taken(target=100)
    begun: list[object] = []

    def behind(*arguments: Any, after: object = None) -> list[Claimed]:
        begun.append(after)
        return claim(*arguments)

    monkeypatch.setattr(source_module, "claim", behind)
    front = taken.source._fronts["a"] = QueueFront(True, {0: 7}, pace=Pace(next_look=time.monotonic() + 3600))
    taken.source.work()
    assert not taken.source.work()
    assert begun == [{0: taken.messages[-1].id}], "asked once, and what follows is no more than nothing"
    front.pace.next_look = time.monotonic() + 0.01
    due = taken.source.due()
    assert due is not None
    assert due <= 0.01, "the store thread comes back for the look"
    wait_until(lambda: taken.source.work() or len(begun) == 2)
    assert begun[1] is None


def test_queues_take_turns() -> None:
    for queue in ("a", "b"):
        send(queue, 100)
    taken = Taken("a", "b", target=8)
    for _ in range(5):
        taken.source.work()
        taken.source.ended = lambda: taken.lease.held
    assert abs(taken.queues()["a"] - taken.queues()["b"]) <= 8


def test_empty_queue_is_not_claimed_from_until_there_is_news() -> None:
    taken = Taken("a", "b")
    taken.source.work()
    send("a", 1)
    send("b", 1)
    taken.source.work()
    assert not taken.messages
    taken.source.on_notification({mark("b"), mark("elsewhere")})
    taken.source.work()
    assert taken.queues() == {"b": 1}
    taken.source.on_notification(None)
    taken.source.work()
    assert taken.queues() == {"a": 1, "b": 1}


def test_source_claims_nothing_while_the_lease_is_not_sure() -> None:
    send("a", 1)
    taken = Taken()
    taken.lease._beaten_at -= 25
    taken.source.work()
    assert not taken.messages


def test_due_message_is_claimed_and_scheduled_one_sets_the_next_look() -> None:
    enqueue([envelope(queue="a", delay=1e-6), envelope(queue="a", delay=20)])
    taken = Taken()
    taken.source.work()
    taken.source.work()
    assert len(taken.messages) == 1
    assert ScheduledMessage.objects.count() == 1
    assert 0 < (taken.source.due() or 0) <= 20


def test_queues_can_be_added_and_removed() -> None:
    send("a", 1)
    send("b", 1)
    taken = Taken("a")
    taken.source.add("b")
    taken.source.remove("a")
    taken.source.work()
    assert taken.queues() == {"b": 1}
    taken.source.remove("b")
    taken.source.on_notification(None)
    assert not taken.source.work()


def test_a_claim_without_any_queue_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken("a")
    taken.source.remove("a")
    monkeypatch.setattr(taken.source, "_find_filled", lambda: True)
    assert not taken.source.work()


def test_idle_queues_cost_one_statement_however_many_they_are() -> None:
    taken = Taken(*(f"q{n}" for n in range(2000)))
    taken.source.work()
    taken.source.on_notification(None)
    with CaptureQueriesContext(connection) as queries:
        taken.source.work()
    # One look at the queues, one at the schedule.
    assert len(queries) == 2
    send("q7", 3)
    send("q1999", 1)
    taken.source.on_notification(None)
    with CaptureQueriesContext(connection) as queries:
        taken.source.work()
    assert taken.queues() == {"q7": 3, "q1999": 1}
    assert len(queries) == 4


def test_schedule_is_read_with_each_poll_in_case_nothing_tells_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken()
    taken.source.work()
    enqueue([envelope(queue="a", delay=0.001)])
    taken.source.work()
    assert ScheduledMessage.objects.exists(), "nobody has told of it"
    monkeypatch.setattr(taken.source, "_next_poll", 0.0)
    wait_until(lambda: taken.source.work() or taken.messages)
