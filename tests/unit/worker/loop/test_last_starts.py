"""A task whose process died starts for the last time alone, in a pool whose slots share a process."""

from __future__ import annotations

import pytest

from taskq.records import Claimed
from tests.support.fake_pool import Bench, claimed
from tests.unit.worker.loop.short import short_tasks


class SharedBench(Bench):
    """A consumer whose pool has four slots in one process. Starts are committed at once."""

    def __init__(self) -> None:
        super().__init__(4, short_tasks())
        self.pool.shares_process = True
        self._committed = 0

    def receive(self, *messages: Claimed) -> None:
        """Receive messages; redelivered ones come read, as from the duty that has them read."""
        before = [request for m in messages if m.redelivered and (request := self.consumer.read(m)) is not None]
        self.consumer.receive([m for m in messages if not m.redelivered], before)
        self.commit()

    def commit(self) -> None:
        while len(asked := self.asked("count")) > self._committed:
            self._committed += 1
            asked[self._committed - 1][1](True)

    def running(self) -> set[str]:
        return {task_id for slot in self.pool.handed for task_id in slot}

    def finish(self, message: Claimed) -> None:
        """End the task of a message."""
        (slot,) = [slot.index for slot in self.pool.slots if message.task_id in self.pool.handed[slot.index]]
        self.end(slot)
        self.commit()


def started(times: int) -> Claimed:
    """Return a message that was started so often, and each time its process died; three starts are the most."""
    return claimed("consumer.plain", redelivered=True, deliveries=times)


def ids(*messages: Claimed) -> set[str]:
    return {message.task_id for message in messages}


@pytest.fixture
def bench() -> SharedBench:
    return SharedBench()


def test_last_starts_come_one_after_the_other(bench: SharedBench) -> None:
    one, two, three = started(2), started(2), started(2)
    bench.receive(one, two, three)
    for message in (one, two, three):
        assert bench.running() == ids(message)
        bench.finish(message)
    assert len(bench.settled()) == 3


def test_earlier_starts_come_together_and_before_a_last_one(bench: SharedBench) -> None:
    last, one, two = started(2), started(1), started(1)
    bench.receive(last, one, two)
    assert bench.running() == ids(one, two)
    bench.finish(one)
    assert bench.running() == ids(two)
    bench.finish(two)
    assert bench.running() == ids(last)
    late = started(1)
    bench.receive(late)
    assert bench.running() == ids(last)
    bench.finish(last)
    assert bench.running() == ids(late)


def test_first_starts_wait_for_nobody_and_are_fetched_meanwhile(bench: SharedBench) -> None:
    suspects = [started(2) for _ in range(3)]
    bench.receive(*suspects)
    usual = bench.targets[-1] - 2  # two of them wait
    new = [claimed("consumer.plain") for _ in range(3)]
    bench.receive(*new)
    assert bench.running() == ids(suspects[0], *new)
    for message in suspects:
        bench.finish(message)
    assert bench.targets[-1] == usual


def test_message_that_was_only_fetched_is_no_suspect(bench: SharedBench) -> None:
    bench.receive(*(fetched := [started(0), started(0)]))
    assert bench.running() == ids(*fetched)


def test_task_that_kills_its_process_each_time_fails_alone(bench: SharedBench) -> None:
    from taskq.worker.pools.base import LostChild

    killer, beside, new = started(2), started(2), claimed("consumer.plain")
    bench.receive(killer, beside, new)
    lost = [delivery for slot in bench.pool.slots for delivery in slot.deliveries]
    for slot in bench.pool.slots:
        slot.deliveries = []
    bench.consumer.lost(LostChild(lost, [], "The process was killed."))
    assert bench.settled() == [(killer.task_id, "FAILURE")]
    assert [number for number, _ in bench.asked("requeue_lost")] == [new.id]
    bench.commit()
    assert bench.running() == ids(beside)


def test_waiting_last_starts_are_requeued_when_the_worker_stops(bench: SharedBench) -> None:
    one, two = started(2), started(2)
    bench.receive(one, two)
    bench.consumer.stop()
    assert bench.released() == [two.id]


def test_slots_with_a_process_each_run_them_together(bench: SharedBench) -> None:
    bench.pool.shares_process = False
    bench.receive(*(suspects := [started(2) for _ in range(3)]))
    assert bench.running() == ids(*suspects)


def test_waiting_last_starts_fetch_no_more_than_can_run(bench: SharedBench) -> None:
    bench.receive(claimed("consumer.plain"))
    usual = bench.targets[-1]
    bench.receive(*[started(2) for _ in range(20)])
    assert bench.targets[-1] == usual + 4


def test_last_starts_that_are_gone_fetch_nothing(bench: SharedBench) -> None:
    bench.receive(claimed("consumer.plain"))
    usual = bench.targets[-1]
    bench.receive(started(2), started(2))
    assert bench.targets[-1] == usual + 1
    bench.consumer.pause(frozenset({"taskq"}))
    assert bench.targets[-1] == usual
