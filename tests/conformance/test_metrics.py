"""The figures of the cluster, on every database."""

from __future__ import annotations

from taskq.metrics.cluster import families
from taskq.metrics.exposition import render
from taskq.models import Message
from taskq.store import workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.timezones import now
from tests.support.envelopes import envelope
from tests.support.exposition import parse


def test_figures_are_those_of_the_rows(alias: str) -> None:
    names = ["a", "A", "a ", "q\"'\\", "ä,1"]
    for name in names:
        enqueue([envelope(queue=name, tracked=True), envelope(queue=name, priority=3, tracked=True)], alias)
    enqueue([envelope(queue="later", delay=60), envelope(queue="held"), envelope(queue="held")], alias)
    token = workers.register("w", info={"queues": ["empty"], "concurrency": 4})
    assert len(claim("held", 1, token, alias)) == 1
    Message.objects.using(alias).filter(queue="a").update(created_at=now())
    found = parse(render(families()).decode())
    waiting = found["taskq_queue_messages"]
    assert {name: waiting.value(queue=name) for name in [*names, "held", "empty"]} == {
        **dict.fromkeys(names, 2), "held": 1, "empty": 0,
    }  # fmt: skip
    assert found["taskq_queue_claimed_messages"].value(queue="held") == 1
    assert found["taskq_scheduled_messages"].value(queue="later") == 1
    assert found["taskq_workers"].value(state="running") == 1
    assert found["taskq_workers_slots"].value() == 4
    for name in names:
        assert 0 <= found["taskq_queue_oldest_message_age_seconds"].value(queue=name) < 60
    assert sum(found["taskq_tasks"].values.values()) == 2 * len(names) + 3
