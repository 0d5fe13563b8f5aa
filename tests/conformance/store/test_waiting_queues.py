"""Which queues have messages: one statement for all, on every database."""

from __future__ import annotations

from taskq.store import workers
from taskq.store.claim import claim, with_messages
from taskq.store.enqueue import enqueue
from tests.support.envelopes import envelope


def test_queues_with_waiting_messages_are_found_among_many(alias: str) -> None:
    names = ["a", "A", "a ", "q\"'\\", "ä,1", "empty", "held", *(f"q{n}" for n in range(2000))]
    for name in names[:5]:
        enqueue([envelope(queue=name), envelope(queue=name, priority=3)])
    enqueue([envelope(queue="held"), envelope(queue="another"), envelope(queue="empty", delay=60)])
    assert len(claim("held", 5, workers.register("w"))) == 1
    assert with_messages(names) == set(names[:5])
    assert with_messages(["empty"]) == set()
