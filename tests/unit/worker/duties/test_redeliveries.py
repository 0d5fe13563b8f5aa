"""Redelivered messages are read one at a time, each counted before; they start when all have been read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import DatabaseError, OperationalError

from taskq.models import Message
from taskq.records import Claimed
from taskq.store import claim
from taskq.store.enqueue import enqueue
from taskq.worker.duties import redeliveries
from taskq.worker.duties.lease import WorkerLease
from taskq.worker.duties.redeliveries import Redeliveries
from tests.support.envelopes import envelope

pytestmark = pytest.mark.django_db(transaction=True)


class Bench:
    """The duty of a worker that holds some redelivered messages, and what the loop was asked for."""

    def __init__(self, count: int = 3, deliveries: int = 0) -> None:
        self.read: list[tuple[int, str]] = []
        self.admitted: list[list[int]] = []
        self.lease = WorkerLease("w", 30.0, "default", info=dict, on_revoked=lambda a: None, on_lost=lambda i: None)
        self.lease.heartbeat()
        enqueue([envelope(queue="a") for _ in range(count)])
        Message.objects.update(redelivered=True, deliveries=deliveries)
        self.messages = claim.claim("a", count, self.lease.token)
        self.ids = [message.id for message in self.messages]
        self.lease.take(self.ids)
        self.duty = Redeliveries(self.lease, "default", self._read, self.admitted.append)
        self.duty.add(self.messages)

    def _read(self, message: Claimed, name: str) -> None:
        assert self.counts()[message.id] == message.deliveries + 1, "it is counted before"
        self.read.append((message.id, name))

    def counts(self) -> dict[int, int]:
        return dict(Message.objects.values_list("id", "deliveries"))

    def work(self, times: int) -> None:
        """Work, and have the loop read what it is given."""
        for _ in range(times):
            self.duty.work()
            self.duty.was_read(self.read[-1][0])


@contextmanager
def _failing(monkeypatch: pytest.MonkeyPatch, error: Exception, message_id: int) -> Iterator[None]:
    def fail(token: str, asked: int, starts: int, alias: str) -> bool:
        if asked == message_id:
            raise error
        return claim_set_starts(token, asked, starts, alias)

    claim_set_starts = claim.set_starts
    with monkeypatch.context() as patch:
        patch.setattr(redeliveries.claim, "set_starts", fail)
        yield


def test_one_is_read_at_a_time_and_only_that_one_is_counted() -> None:
    bench = Bench()
    for index, message_id in enumerate(bench.ids):
        bench.duty.work()
        bench.duty.work()
        assert [read for read, _ in bench.read] == bench.ids[: index + 1]
        assert bench.counts() == {each: int(each == message_id) for each in bench.ids}
        assert not bench.admitted, "none starts while others may still kill the worker"
        bench.duty.was_read(message_id)
    bench.duty.work()
    assert bench.admitted == [bench.ids]
    assert set(bench.counts().values()) == {0}


def test_message_that_is_not_to_run_is_not_admitted() -> None:
    bench = Bench(1)
    bench.duty.work()
    bench.duty.was_read(None)
    bench.duty.work()
    assert bench.admitted == []


def test_name_is_looked_up_for_messages_that_are_near_their_limit() -> None:
    bench = Bench(1, deliveries=2)
    bench.work(1)
    assert bench.read == [(bench.ids[0], Message.objects.get().name)]
    assert bench.read[0][1]


def test_message_that_a_peer_has_taken_over_is_not_read() -> None:
    bench = Bench()
    Message.objects.filter(id=bench.ids[0]).update(token="peer")
    bench.work(3)
    assert bench.admitted == [bench.ids[1:]]
    assert not bench.lease.holds(bench.ids[0])
    assert bench.counts()[bench.ids[0]] == 0


def test_message_that_cannot_be_counted_now_comes_after_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    with _failing(monkeypatch, OperationalError("locked"), bench.ids[0]), pytest.raises(OperationalError):
        bench.duty.work()
    bench.work(4)
    assert bench.admitted == [[*bench.ids[1:], bench.ids[0]]]
    assert set(bench.counts().values()) == {0}


def test_message_of_which_the_database_refuses_to_count_starts_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench._read = lambda message, name: bench.read.append((message.id, name))  # type: ignore[method-assign]
    bench.duty._read = bench._read
    with _failing(monkeypatch, type("DataError", (DatabaseError,), {})(), bench.ids[0]):
        bench.work(4)
    assert bench.admitted == [bench.ids]


def test_count_is_taken_back_later_if_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(1)
    bench.work(1)
    with _failing(monkeypatch, OperationalError("away"), bench.ids[0]), pytest.raises(OperationalError):
        bench.duty.work()
    assert bench.admitted == []
    bench.duty.work()
    assert set(bench.counts().values()) == {0}
    assert bench.admitted == [bench.ids]


def test_worker_that_stops_reads_no_more_and_requeues_what_it_has_not_read() -> None:
    bench = Bench()
    bench.work(1)
    bench.lease.state = "stopping"
    bench.duty.work()
    assert len(bench.read) == 1
    assert bench.admitted == [bench.ids[:1]], "the consumer requeues it"
    assert list(Message.objects.order_by("id").values_list("token", flat=True)) == [bench.lease.token, "", ""]
    assert set(bench.counts().values()) == {0}


def test_last_count_is_taken_back_at_the_end_unless_the_loop_ended_while_it_read() -> None:
    bench = Bench(2)
    bench.work(1)
    bench.duty.leave()
    assert set(bench.counts().values()) == {0}
    bench.duty.work()
    bench.duty.leave()
    assert bench.counts() == {bench.ids[0]: 0, bench.ids[1]: 1}
