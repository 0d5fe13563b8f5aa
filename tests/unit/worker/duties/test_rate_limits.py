"""How many parked messages may start, and when: by a clock that the tests set."""

from __future__ import annotations

import math

import pytest

from taskq.messages.parking import home, parked_task, parking
from taskq.rates import Starts
from taskq.worker.duties import rate_limits
from taskq.worker.duties.rate_limits import RateLimits

A, B = parking("a", "shop.add"), parking("b", "shop.add")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate_limits, "time", clock)
    return clock


def _run(limits: RateLimits, clock: Clock, seconds: float, step: float = 0.001) -> int:
    """Claim whatever may be claimed, as a source would that looks every ``step`` seconds; return how much that was."""
    started, end = 0, clock.now + seconds
    while clock.now < end:
        for name in limits.ready():
            count = limits.free(name)
            limits.note_claimed(name, count, again=0.0)
            started += count
        clock.now += step
    return started


@pytest.mark.parametrize(("rate", "step"), [(50.0, 0.001), (50.0, 0.3), (1000.0, 0.001), (0.5, 0.01)])
def test_rate_is_met_and_never_exceeded(clock: Clock, rate: float, step: float) -> None:
    limits = RateLimits()
    limits.set("shop.add", rate)
    limits.note_parked([A])
    started = _run(limits, clock, 20.0, step)
    assert rate * 20 * 0.95 - 1 <= started <= rate * 20 + 1


def test_two_queues_share_the_rate_of_their_task(clock: Clock) -> None:
    limits = RateLimits()
    limits.set("shop.add", 10.0)
    limits.note_parked([A, B])
    assert _run(limits, clock, 10.0) in (100, 101)


def test_time_without_messages_gives_no_burst(clock: Clock) -> None:
    limits = RateLimits()
    limits.set("shop.add", 10.0)
    clock.now += 100
    limits.note_parked([A])
    assert limits.free(A) == 1
    limits.note_claimed(A, 1, again=None)
    assert (limits.ready(), limits.next_free) == ([], math.inf)
    limits.note_parked([A])
    assert limits.ready() == []
    assert limits.next_free == pytest.approx(clock.now + 0.1)


def test_task_without_a_limit_is_claimed_at_once(clock: Clock) -> None:
    limits = RateLimits()
    limits.set("shop.add", 1 / 3600)
    limits.note_parked([A])
    limits.note_claimed(A, 1, again=0.0)
    clock.now += 10
    assert limits.ready() == []
    limits.set("shop.add", 10.0)
    assert limits.ready() == [A]
    limits.set("shop.add", None)
    assert limits.free(A) > 100
    limits.forget("a")
    assert limits.ready() == []


class Cluster:
    """The row of a limit, in memory: see ``store.rates``."""

    def __init__(self, clock: Clock, rate: float | None) -> None:
        self.clock, self.rate, self.free_at, self.asked = clock, rate, 0.0, 0

    def take(self, late: float) -> Starts:
        self.asked += 1
        if self.rate is None:
            return Starts(100, 0.0, None)
        first = max(self.free_at, self.clock.now - late)
        count = max(1, int(self.rate * 0.2))
        self.free_at = first + count / self.rate
        return Starts(count, first - self.clock.now, self.rate)


@pytest.mark.parametrize(("rate", "step"), [(50.0, 0.001), (50.0, 0.3), (0.5, 0.01)])
def test_two_workers_together_meet_the_rate_and_ask_a_few_times_a_second(
    clock: Clock, rate: float, step: float
) -> None:
    cluster, workers = Cluster(clock, rate), (RateLimits(), RateLimits())
    for limits in workers:
        limits.share("shop.add", cluster.take)
        limits.note_parked([A])
    started, end = 0, clock.now + 20
    while clock.now < end:
        started += _run(workers[0], clock, step / 2, step / 2) + _run(workers[1], clock, step / 2, step / 2)
    assert rate * 20 * 0.95 - 1 <= started <= rate * 20 * 1.01 + 2
    assert cluster.asked <= 20 * 5 + 10


def test_starts_that_were_not_used_in_time_are_lost_and_a_change_is_asked_for(clock: Clock) -> None:
    cluster, limits = Cluster(clock, 50.0), RateLimits()
    limits.share("shop.add", cluster.take)
    limits.note_parked([A])
    assert limits.free(A) == 1
    limits.note_claimed(A, 1, again=None)
    clock.now += 100
    limits.note_parked([A])
    assert limits.free(A) == 1
    cluster.rate = None
    assert limits.renew("shop.add")
    assert limits.free(A) == 100
    assert not limits.renew("shop.other")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("rate", [50.0, 1 / 3600])
def test_start_that_is_given_back_is_free_for_another_message(clock: Clock, shared: bool, rate: float) -> None:
    limits, cluster = RateLimits(), Cluster(clock, rate)
    if shared:
        limits.share("shop.add", cluster.take)
    else:
        limits.set("shop.add", rate)
    limits.note_parked([A])
    for _ in range(5):
        assert limits.free(A) >= 1
        limits.note_claimed(A, 1, again=0.0)
        limits.give_back("shop.add", 1)
        clock.now += 0.03
    assert cluster.asked <= 1, "the starts that were taken are used"
    started = limits.free(A)
    assert started >= 1
    limits.note_claimed(A, started, again=0.0)
    clock.now += 0.03
    assert started + _run(limits, clock, 10.0) <= rate * (10 + 0.18) + 2
    limits.give_back("shop.other", 1)


def test_parking_that_was_empty_behind_its_front_is_claimed_from_again_when_something_is_parked(clock: Clock) -> None:
    limits = RateLimits()
    limits.set("shop.add", 1000.0)
    limits.note_parked([A])
    limits.note_claimed(A, 1, again=clock.now + 60)
    clock.now += 1
    assert limits.ready() == []
    limits.note_parked([A])
    clock.now += 0.03
    assert limits.ready() == [A]


def test_names_of_parkings() -> None:
    assert (home(A), parked_task(A)) == ("a", "shop.add")
    assert (home("a"), parked_task("a")) == ("a", "")
    assert parking("a" * 200, "b" * 200) == ""
