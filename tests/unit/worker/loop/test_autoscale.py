"""When the pool grows and shrinks by itself. The decision is arithmetic; the consumer feeds it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import task
from taskq.worker.loop.autoscale import STEP, Autoscaler, growth
from tests.support.fake_pool import Bench, FakeSlot, claimed

LONG, SHORT = 5.0, 0.001


@task(name="autoscale.work")
def work() -> None: ...


def scaler(most: int = 10, least: int = 2, keepalive: float = 30.0) -> Autoscaler:
    return Autoscaler(most, least, keepalive, lambda by: None)


@pytest.mark.parametrize(
    ("held", "slots", "mean", "by"),
    [
        (2, 2, LONG, 0),  # everything runs
        (3, 2, LONG, 1),
        (7, 2, LONG, 5),
        (40, 2, LONG, 8),  # up to the most
        (40, 10, LONG, 0),
        (12, 2, SHORT, 0),  # ended before a process has started
        (62, 2, SHORT, 3),
        (500, 2, SHORT, 8),
    ],
)
def test_grows_at_once_by_what_waits(held: int, slots: int, mean: float, by: int) -> None:
    assert scaler().change(100.0, held, slots, mean) == by


def test_shrinks_one_by_one_after_the_keepalive() -> None:
    one = scaler(keepalive=30.0)
    assert one.change(100.0, 5, 5, LONG) == 0  # all needed
    assert one.change(129.0, 2, 5, LONG) == 0
    assert one.change(130.5, 2, 5, LONG) == -1
    assert one.change(130.5 + STEP / 2, 2, 4, LONG) == 0
    assert one.change(130.5 + STEP, 2, 4, LONG) == -1
    assert one.change(130.5 + 2 * STEP, 3, 3, LONG) == 0  # all needed again
    assert one.change(130.5 + 3 * STEP, 0, 3, LONG) == 0
    assert one.change(200.0, 0, 3, LONG) == -1
    assert one.change(300.0, 0, 2, LONG) == 0  # the fewest


def test_a_pool_that_is_full_at_its_most_shrinks_later() -> None:
    one = scaler(most=3)
    assert one.change(100.0, 50, 3, LONG) == 0
    assert one.change(131.0, 1, 3, LONG) == -1


def test_limits_are_changed_while_it_runs() -> None:
    one = scaler(most=10, least=2)
    one.set_limits(most=4)
    assert (one.change(1.0, 9, 7, LONG), one.most, one.least) == (-3, 4, 2)
    one.set_limits(least=3)
    assert one.change(1.0, 0, 2, LONG) == 1
    one.set_limits(5, 0)
    assert (one.most, one.least) == (5, 1)
    for most, least in [(3, 4), (None, 6), (0, None)]:
        with pytest.raises(ValueError, match="is less than min="):
            one.set_limits(most, least)
    assert (one.most, one.least) == (5, 1)


@given(
    least=st.integers(1, 20),
    more=st.integers(0, 20),
    steps=st.lists(st.tuples(st.floats(0, 50), st.integers(0, 600), st.floats(0.0001, 100))),
)
def test_never_leaves_its_limits(least: int, more: int, steps: list[tuple[float, int, float]]) -> None:
    one = scaler(least + more, least)
    now, slots = 0.0, least
    for seconds, held, mean in steps:
        now += seconds
        by = one.change(now, held, slots, mean)
        assert by <= max(0, held - slots)
        assert by >= -1
        assert by >= 0 or held < slots
        slots += by
        assert least <= slots <= least + more


@given(waiting=st.integers(0, 1000), mean=st.floats(0, 1000))
def test_growth_is_never_more_than_what_waits(waiting: int, mean: float) -> None:
    assert 0 <= growth(waiting, mean) <= waiting


def test_consumer_claims_for_the_largest_pool_and_grows_to_it() -> None:
    bench = Bench(1)
    consumer, pool = bench.consumer, bench.pool

    def resize(by: int) -> None:
        pool.slots += [FakeSlot(len(pool.slots) + n) for n in range(by)]
        pool.concurrency = len(pool.slots)
        consumer.dispatch()

    consumer.autoscaler = Autoscaler(4, 1, 30.0, resize)
    consumer.dispatch()
    assert bench.targets == [4]
    consumer.receive([claimed("autoscale.work") for _ in range(3)])
    assert [len(slot) for slot in pool.handed] == [1]
    consumer.rebalance()
    assert [len(slot) for slot in pool.handed] == [1, 1, 1]
    consumer.stop()
    consumer.rebalance()
    assert pool.concurrency == 3
    assert set(bench.targets[1:]) == {0}
