"""Messages that go to an exchange when they are sent, or follow from a task; names that no database takes."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import group
from taskq.exceptions import QueueNotFound
from taskq.models import Message, TaskRun
from taskq.store import exchanges, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.worker.duties.lease import WorkerLease
from taskq.worker.duties.ledger import Ledger
from tests.support.envelopes import ending, envelope
from tests.support.jobs.endings import square


@pytest.mark.parametrize("names", [("a\0b", "k"), ("e", "k\0"), ("e" * 300, "k"), ("\ud800", "k")])
def test_exchange_names_that_no_database_takes_find_no_queue(alias: str, names: tuple[str, str]) -> None:
    exchange, key = names
    with pytest.raises(QueueNotFound):
        exchanges.resolve([envelope(queue="", exchange=exchange, routing_key=key)], alias)


def test_success_with_an_unroutable_follow_up_fails_and_delays_no_other_end(alias: str) -> None:
    enqueue([envelope("x"), envelope("y")])
    lease = WorkerLease("w", 30.0, alias, info=dict, on_revoked=lambda asked: None, on_lost=lambda ids: None)
    lease.token = workers.register("w")
    messages = claim("taskq", 2, lease.token)
    lease.take([message.id for message in messages])
    ledger = Ledger(lease, alias)
    odd = envelope(queue="", exchange="a\0b", routing_key="k", reset=False)
    ledger.add([ending(messages[0], follow_ups=(odd,)), ending(messages[1])])
    assert not ledger.work()
    states = dict(TaskRun.objects.using(alias).values_list("task_id", "state"))
    assert states == {"x": "FAILURE", odd.task_id: "FAILURE", "y": "SUCCESS"}
    assert not Message.objects.using(alias).exists()


@pytest.mark.parametrize("together", [False, True])
def test_message_goes_to_each_queue_of_its_exchange_and_has_one_run(alias: str, together: bool, settings: Any) -> None:
    feed = {"exchange": "feed", "exchange_type": "topic", "routing_key": "feed.#"}
    settings.TASKQ_QUEUES = {"one": feed, "two": feed, "plain": {}}
    sent = square.s(3).set(exchange="feed", routing_key="feed.a")
    if together:
        group([sent, square.s(3).set(queue="plain")]).delay()
    else:
        sent.delay()
        square.s(3).set(queue="plain").delay()
    queues = Message.objects.using(alias).order_by("queue").values_list("queue", flat=True)
    assert list(queues) == ["one", "plain", "two"]
    assert TaskRun.objects.using(alias).count() == 2
