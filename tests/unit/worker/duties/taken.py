"""A source of messages, and what it delivered."""

from __future__ import annotations

from collections import Counter

from taskq.records import Claimed
from taskq.store.enqueue import enqueue
from taskq.worker.duties.database_source import DatabaseSource
from taskq.worker.duties.lease import WorkerLease
from tests.support.envelopes import envelope


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


def send(queue: str, count: int) -> None:
    enqueue([envelope(queue=queue) for _ in range(count)])
