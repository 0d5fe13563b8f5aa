"""The source: which queues it looks at, how much it takes, and what a claim that broke off leaves behind."""

from __future__ import annotations

import re
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from taskq.engines.marks import mark
from taskq.messages.parking import parking
from taskq.messages.protocol import MOST_OUTSIDE, seal
from taskq.messages.serializers import to_json
from taskq.models import Message, ScheduledMessage
from taskq.records import Claimed
from taskq.store import workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.large import body_of
from taskq.store.parking import park, park_waiting
from taskq.worker.duties import database_source as source_module
from taskq.worker.duties import parking as parking_module
from taskq.worker.duties.database_source import DatabaseSource
from taskq.worker.duties.lease import WorkerLease
from taskq.worker.duties.pace import Pace
from taskq.worker.duties.parking import Parking
from taskq.worker.duties.queue_front import QueueFront
from tests.support.envelopes import envelope
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Taken:
    """A source, its lease, and what it delivered."""

    def __init__(self, *queues: str, target: int = 10) -> None:
        self.messages: list[Claimed] = []
        self.again: list[Claimed] = []
        self.lease = WorkerLease("w", 30.0, "default", info=dict, on_revoked=lambda a: None, on_lost=lambda i: None)
        self.lease.heartbeat()
        self.source = DatabaseSource(
            self.lease, "default", queues or ("a",), self.messages.extend, self.again.extend, poll=60.0
        )
        self.source.target = target

    def queues(self) -> Counter[str]:
        return Counter(message.queue for message in self.messages)


def _send(queue: str, count: int) -> None:
    enqueue([envelope(queue=queue) for _ in range(count)])


def test_source_claims_as_many_as_there_is_room_for_but_no_small_batches() -> None:
    _send("a", 15)
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
    _send("a", 11)
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
    _send("a", 4)
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


@override_settings(TASKQ_MAX_PREFETCH_SIZE=100_000)
def test_large_messages_are_held_up_to_a_number_of_bytes() -> None:
    for queue in ("a", "b"):
        enqueue([envelope(queue=queue, body="x" * 40_000) for _ in range(6)])
    taken = Taken("a", "b")
    waiting = Message.objects.filter(token="")

    def work(held: int, waits: int) -> None:
        while taken.source.work():
            pass
        assert (taken.lease.held, waiting.count()) == (held, waits)
        assert {message.body for message in taken.messages} == {"x" * 40_000}

    work(3, 9)
    assert waiting.filter(redelivered=True).count() == 0, "they have not been looked at"
    assert taken.lease.size > 100_000
    with CaptureQueriesContext(connection) as queries:
        work(3, 9)
    assert not [query for query in queries if "UPDATE" in query["sql"]], "there is room for none: none is claimed"
    ends = iter(list(taken.messages))
    for held, waits in ((3, 8), (3, 7), (3, 6)):
        taken.lease.drop(next(ends).id)
        work(held, waits)
    for message in taken.messages:
        taken.lease.drop(message.id)
    assert taken.lease.size == 0
    work(3, 3)
    assert len({message.id for message in taken.messages}) == len(taken.messages) == 9


@override_settings(TASKQ_MAX_PREFETCH_SIZE=1)
def test_one_message_is_held_however_large_it_is() -> None:
    enqueue([envelope(queue="a", body="x" * size) for size in (40_000, 10, 40_000)])
    taken = Taken()
    for held in (1, 2, 3):
        taken.source.work()
        assert len(taken.messages) == held
        taken.lease.drop(taken.messages[-1].id)


@pytest.mark.parametrize("signing", [False, True])
def test_bodies_that_only_a_task_opens_stay_in_their_rows(signing: bool) -> None:
    with override_settings(TASKQ_SIGNING=signing, TASKQ_MAX_PREFETCH_SIZE=1):
        large = envelope("large", queue="a", body="x" * (MOST_OUTSIDE + 1))
        large.headers |= {"root_id": "large", "padding": "x" * 10_000}
        seal([large])
        headers = to_json(large.headers)
        enqueue([large])
        taken = Taken()
        taken.source.work()
        (message,) = taken.messages
        assert (message.in_row, message.body) == (True, "")
        # What was read of it counts: its headers.
        assert message.size == taken.lease.size < 2 * len(headers)
        assert message.headers == headers
        assert body_of(message.id, headers, "{}") == large.body
        Message.objects.update(body="y")
        assert body_of(message.id, headers, "{}") == (None if signing else "y")
        Message.objects.all().delete()
        assert body_of(message.id, headers, "{}") is None


@override_settings(TASKQ_MAX_MESSAGE_SIZE=50_000, TASKQ_MAX_HEADERS_SIZE=20_000)
def test_messages_above_the_limits_are_delivered_unread() -> None:
    fits = enqueue_unchecked(body="x" * 50_000, headers="[" * 19_998)
    texts = [{"body": "x" * 50_001}, {"headers": "x" * 20_001}, {"headers": "x" * 9_000, "properties": "x" * 11_001}]
    ids = [fits, *(enqueue_unchecked(**each) for each in texts)]
    taken = Taken()
    taken.source.work()
    assert [message.id for message in taken.messages] == ids
    read, *refused = taken.messages
    assert (len(read.body), len(read.headers), read.refused) == (50_000, 19_998, "")
    assert [(m.body, m.headers, m.properties, m.size) for m in refused] == [("", "{}", "{}", 0)] * 3
    assert [re.search(r"TASKQ_\w+", m.refused)[0] for m in refused] == [  # type: ignore[index]
        "TASKQ_MAX_MESSAGE_SIZE", "TASKQ_MAX_HEADERS_SIZE", "TASKQ_MAX_HEADERS_SIZE",
    ]  # fmt: skip


def enqueue_unchecked(**texts: str) -> int:
    """Write a message past all that checks what is sent; return its id."""
    values = {"queue": "a", "headers": "{}", "properties": "{}", "body": "[]", "created_at": datetime.now(UTC)}
    return Message.objects.create(**values | texts).id


def test_queues_take_turns() -> None:
    for queue in ("a", "b"):
        _send(queue, 100)
    taken = Taken("a", "b", target=8)
    for _ in range(5):
        taken.source.work()
        taken.source.ended = lambda: taken.lease.held
    assert abs(taken.queues()["a"] - taken.queues()["b"]) <= 8


def test_empty_queue_is_not_claimed_from_until_there_is_news() -> None:
    taken = Taken("a", "b")
    taken.source.work()
    _send("a", 1)
    _send("b", 1)
    taken.source.work()
    assert not taken.messages
    taken.source.on_notification({mark("b"), mark("elsewhere")})
    taken.source.work()
    assert taken.queues() == {"b": 1}
    taken.source.on_notification(None)
    taken.source.work()
    assert taken.queues() == {"a": 1, "b": 1}


def test_source_claims_nothing_while_the_lease_is_not_sure() -> None:
    _send("a", 1)
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
    _send("a", 1)
    _send("b", 1)
    taken = Taken("a")
    taken.source.add("b")
    taken.source.remove("a")
    taken.source.work()
    assert taken.queues() == {"b": 1}
    taken.source.remove("b")
    taken.source.on_notification(None)
    assert not taken.source.work()


def test_parkings_of_a_queue_that_is_no_longer_read_are_left_alone() -> None:
    _send("a", 1)
    park_waiting("a", "shop.add")
    taken = Taken("a")
    taken.source.set_rate("shop.add", 100.0)
    taken.source.remove("a")
    taken.source.note_parked("a", parking("a", "shop.add"))
    assert not taken.source.work()
    assert taken.messages == []


def test_a_claim_without_any_queue_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken("a")
    taken.source.remove("a")
    monkeypatch.setattr(taken.source, "_find_pending", lambda: True)
    assert not taken.source.work()


def test_messages_of_a_token_whose_parking_fails_are_parked_later(monkeypatch: pytest.MonkeyPatch) -> None:
    _send("a", 2)
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


def test_messages_of_a_claim_that_was_cut_off_are_claimed_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _send("a", 3)
    taken = Taken(target=2)

    def cut(*args: object) -> list[Claimed]:
        claim(*args)  # type: ignore[arg-type]
        raise OperationalError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(source_module, "claim", cut)
        with pytest.raises(OperationalError):
            taken.source.work()
    assert Message.objects.filter(token=taken.lease.token).count() == 2
    taken.source.work()
    assert [m.redelivered for m in taken.messages] == [False, False]
    assert Message.objects.filter(token=taken.lease.token).count() == taken.lease.held == 2
    assert "2 messages that this worker held and did not know went back" in caplog.text


def test_messages_that_a_cut_off_claim_takes_later_are_freed_by_a_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may go on with a statement after its connection broke."""
    _send("a", 3)
    taken = Taken(target=1)

    def cut(*args: object) -> list[Claimed]:
        raise OperationalError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(source_module, "claim", cut)
        with pytest.raises(OperationalError):
            taken.source.work()
    taken.source.work()
    claim("a", 2, taken.lease.token)
    taken.source._next_poll = 0.0
    taken.source.work()
    assert Message.objects.filter(token=taken.lease.token).count() == taken.lease.held == 1


def test_each_poll_frees_messages_with_this_token_that_the_worker_does_not_know(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _send("a", 3)
    taken = Taken("b")
    taken.source.work()
    claim("a", 2, taken.lease.token)
    taken.source.work()
    assert Message.objects.filter(token=taken.lease.token).count() == 2, "not before the poll"
    taken.source._next_poll = 0.0
    taken.source.work()
    assert not Message.objects.exclude(token="").exists()
    assert "2 messages that this worker held" in caplog.text


def test_looks_at_all_that_is_held_pause_where_they_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken()
    looks: list[str] = []
    monkeypatch.setattr(source_module, "held", lambda token, alias: looks.append(token) or set())
    for _ in range(3):
        taken.source._next_poll = 0.0
        taken.source.work()
    assert len(looks) == 3
    taken.source._held_pace.next_look = time.monotonic() + 3600
    taken.source._next_poll = 0.0
    taken.source.work()
    assert len(looks) == 3
    taken.source._claiming = True
    taken.source.work()
    assert len(looks) == 4, "the answer of a claim was lost"


def test_poll_keeps_messages_that_run_wait_for_their_settlement_or_are_held_back() -> None:
    _send("a", 2)
    taken = Taken()
    taken.source.work()
    first, second = taken.messages
    workers.deregister(taken.lease.token)
    taken.lease.heartbeat()
    taken.source.on_notification({mark("a")})
    taken.source.work()  # claims both again, and holds them back while they run under the old token
    taken.lease.drop(first.id)
    taken.source._next_poll = 0.0
    taken.source.work()
    assert [message.id for message in taken.again] == [first.id]
    taken.source._next_poll = 0.0
    taken.source.work()
    assert Message.objects.filter(token=taken.lease.token).count() == 2
    assert second.id in [message.id for _, message in taken.source._deferred]


def test_message_still_running_from_a_lost_lease_is_claimed_when_that_run_ended() -> None:
    _send("a", 2)
    taken = Taken()
    taken.source.work()
    first, second = taken.messages
    workers.deregister(taken.lease.token)
    taken.lease.heartbeat()
    taken.lease.drop(second.id)  # it had not begun
    taken.source.on_notification({mark("a")})
    taken.source.work()
    assert [message.id for message in taken.again] == [second.id]
    taken.lease.drop(first.id)  # its run has ended, and settled nothing
    taken.source.work()
    assert [message.id for message in taken.again[1:]] == [first.id]
    assert taken.lease.holder(first.id) == taken.lease.token


def test_idle_queues_cost_one_statement_however_many_they_are() -> None:
    taken = Taken(*(f"q{n}" for n in range(2000)))
    taken.source.work()
    taken.source.on_notification(None)
    with CaptureQueriesContext(connection) as queries:
        taken.source.work()
    # One look at the queues, one at the schedule.
    assert len(queries) == 2
    _send("q7", 3)
    _send("q1999", 1)
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


def test_source_finds_what_another_worker_has_parked_though_no_notification_names_it() -> None:
    taken = Taken()
    taken.source.set_rate("shop.add", 100.0)
    taken.source.work()
    _send("a", 1)
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
    _send("a", 2)
    assert park_waiting("a", "shop.add") == 2
    front = taken.source._fronts[name] = QueueFront(kept=True)
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
    _send("a", 3)
    taken.source.work()
    duty.park([("shop.add", message) for message in taken.messages])
    _send("a", 2)
    taken.source.set_rate("shop.add", None)
    duty.work()
    assert Message.objects.filter(queue="a").count() == 2
    taken.source.set_rate("shop.add", 1.0)
    duty._more.add(("a", "shop.add"))
    duty.work()
    assert Message.objects.filter(queue="a").count() == 0
