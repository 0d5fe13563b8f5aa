"""What a worker's store thread hears of its own transactions: all that puts work into queues, or changes rules for it.

Where a database has no notifications, the store thread looks without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from django.db import transaction

from taskq import chain, chord, group
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.engines.listeners import Listener
from taskq.engines.marks import SCHEDULED_NAME, mark
from taskq.messages.parking import parking
from taskq.messages.protocol.wire import UNKNOWN_SINCE
from taskq.models import ScheduledMessage, Worker
from taskq.records import Claimed, FollowUps, NewGroup
from taskq.store import log_lines, move, parts, pauses, promote, rates, recover, requeue, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.parking import park, park_waiting
from taskq.store.revoke import REVOKED_NAME, revoke
from taskq.store.settle import settle
from taskq.store.workflow_rows import DatabaseWorkflows
from taskq.workflows.parts import Pending, sent_in_parts
from tests.support.envelopes import ending, envelope
from tests.support.jobs.flows import add, total
from tests.support.waiting import wait_until
from tests.support.worker_here import WorkerHere

pytestmark = pytest.mark.parametrize("database", ["postgresql", "sqlite"], indirect=True)

PARKED = parking("taskq", "shop.add")


class Ears:
    """The listener of a worker's store thread, and a worker's token."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.token = workers.register("w")

    def hear(self, *names: str) -> None:
        """Wait until the listener has told of all ``names``, and of no other name."""
        wanted, heard = set(map(mark, names)), set[str]()

        def told() -> bool:
            # ``None`` would do for a worker, but only after a while: it names nothing.
            marks = self._listener.poll()
            assert marks is not None
            heard.update(marks)
            return heard >= wanted

        wait_until(told, what=f"notifications of {names}")
        assert heard == wanted

    def claim(self, count: int = 1, queue: str = "taskq") -> Sequence[Claimed]:
        """Send messages of ``shop.add``, and claim them."""
        enqueue([envelope(queue=queue) for _ in range(count)])
        self.hear(queue)
        held = claim(queue, count, self.token)
        assert len(held) == count
        return held


@pytest.fixture
def ears(alias: str) -> Iterator[Ears]:
    listener = for_alias(alias).store_thread_listener()
    yield Ears(listener)
    listener.close()


# -- ends


@pytest.mark.parametrize(("later", "name"), [({}, "taskq"), ({"delay": 60}, SCHEDULED_NAME)], ids=["now", "later"])
def test_next_attempt_of_a_task(ears: Ears, later: dict[str, float], name: str) -> None:
    (message,) = ears.claim()
    again = envelope(message.task_id, **later)
    settle(ears.token, [ending(message, "RETRY", follow_ups=[again])])
    ears.hear(name)


@pytest.mark.parametrize(
    "canvas",
    [
        chain(add.s(1, 1), add.s(2)),
        chord([add.s(1, 1)], total.s()),
        chain(add.s(1, 1), group(add.s(2), add.s(3))),
        add.signature((1, 1), link=add.s(2)),
        add.signature(("x", 1), link_error=add.si(2, 2)),
    ],
    ids=["chain", "chord", "group", "callback", "errback"],
)
def test_followers_of_a_task(alias: str, ears: Ears, canvas: Any) -> None:
    here = WorkerHere(alias)
    canvas.delay()
    ears.hear("taskq")
    here.work(1)
    ears.hear("taskq")


def test_followers_in_parts(alias: str, ears: Ears) -> None:
    engine = for_alias(alias)
    kept: list[NewGroup] = []
    sent = FollowUps([envelope()])
    pending = sent_in_parts(sent, "key", "root", lambda key, text: kept.append(NewGroup(key, 0, text, "root")))
    with engine.atomic():
        DatabaseWorkflows(engine).write_pending([*kept, pending.row])
    ears.hear()
    for row in parts.pending_rows(alias):
        parts.work_off(row, alias)
    ears.hear("taskq")


def test_parts_are_told_of_at_commit_and_not_before(alias: str) -> None:
    told: list[str] = []

    def note(rows: Sequence[str], alias: str) -> None:
        told.extend(rows)

    engine, row = for_alias(alias), Pending("key").row
    log_lines.parts_left.subscribe(note)
    try:
        with engine.atomic():
            DatabaseWorkflows(engine).write_pending([row])
            transaction.set_rollback(True, using=alias)
        assert not told
        with engine.atomic():
            DatabaseWorkflows(engine).write_pending([row])
            assert not told
        assert told == [row.group_id]
    finally:
        log_lines.parts_left.unsubscribe(note)


# -- messages that go back, or elsewhere


@pytest.mark.parametrize(
    ("give_back", "name"),
    [
        (lambda token, message: requeue.requeue(token, [message.id]), "taskq"),
        (
            lambda token, message: requeue.requeue_lost(
                token, message.id, deliveries=1, reason="", worker="w", started=None
            ),
            "taskq",
        ),
        (requeue.requeue_rejected, "taskq"),
        (lambda token, message: requeue.postpone(token, message, 60.0), SCHEDULED_NAME),
        (lambda token, message: recover.recover(token, 0), "taskq"),
        (lambda token, message: recover.requeue_free(token, settings.DATABASE), "taskq"),
        (lambda token, message: workers.deregister(token), "taskq"),
    ],
    ids=["requeued", "lost", "rejected", "postponed", "recovered", "free", "left"],
)
def test_message_that_goes_back(ears: Ears, give_back: Callable[[str, Claimed], object], name: str) -> None:
    (message,) = ears.claim()
    give_back(ears.token, message)
    ears.hear(name)


def test_message_of_a_worker_without_a_row(alias: str, ears: Ears) -> None:
    ears.claim()
    Worker.objects.using(alias).all().delete()
    recover.recover_orphans()
    ears.hear("taskq")


def test_message_that_goes_back_to_its_parking(ears: Ears) -> None:
    park(ears.token, ears.claim(), "shop.add")
    ears.hear("taskq", PARKED)
    (message,) = claim(PARKED, 1, ears.token)
    requeue.requeue(ears.token, [message.id])
    ears.hear(PARKED)


def test_messages_that_are_parked_without_being_claimed(ears: Ears) -> None:
    enqueue([envelope(), envelope(name="shop.mail")])
    ears.hear("taskq")
    park_waiting("taskq", "shop.add")
    ears.hear(PARKED)
    park_waiting("taskq", "shop.add")
    ears.hear()


def test_message_that_is_due(alias: str, ears: Ears) -> None:
    enqueue([envelope("a", delay=60), envelope("b", queue="mails", delay=60)])
    ears.hear(SCHEDULED_NAME)
    ScheduledMessage.objects.using(alias).update(due_at=for_alias(alias).now_expression())
    assert len(promote.promote()) == 2
    ears.hear("taskq", "mails")


def test_message_of_a_task_that_was_unknown(ears: Ears) -> None:
    enqueue([envelope("a", delay=60, headers={"task": "shop.add", "id": "a", UNKNOWN_SINCE: 1.0})])
    ears.hear(SCHEDULED_NAME)
    assert promote.hasten_unknown({"shop.add"}, ["taskq"], 600.0)[0] == 1
    ears.hear(SCHEDULED_NAME)


def test_message_that_is_moved_to_another_queue(ears: Ears) -> None:
    enqueue([envelope("a")])
    ears.hear("taskq")
    move.move(["a"], "mails")
    ears.hear("mails", SCHEDULED_NAME)


# -- what changes for a worker that runs


def test_revocation_of_a_task_that_a_worker_holds(ears: Ears) -> None:
    (message,) = ears.claim()
    revoke([message.task_id])
    ears.hear(REVOKED_NAME)


def test_pause_and_its_end(ears: Ears) -> None:
    pauses.pause("taskq")
    ears.hear(pauses.PAUSES_NAME)
    pauses.resume("taskq")
    ears.hear(pauses.PAUSES_NAME)


def test_rate_of_all_workers(ears: Ears) -> None:
    rates.set_rate("shop.add", 5.0)
    ears.hear(rates.RATES_NAME)
