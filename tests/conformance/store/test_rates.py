"""Rate limits of all workers: starts that are taken from a row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.db import connections, transaction

from taskq import clock
from taskq.models import RateLimit
from taskq.rates import Starts
from taskq.store import rates
from taskq.worker.duties.rate_limits import ClusterBucket


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The database's clock, which stands until a test moves it."""
    now = [1_700_000_000.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    return now


def test_no_start_is_taken_twice(alias: str, now: list[float]) -> None:
    first, second = rates.take("shop.add", 50.0, 0.0), rates.take("shop.add", 50.0, 0.0)
    assert (first.count, first.wait, first.rate) == (10, 0.0, 50.0)
    assert (second.count, second.wait) == (10, pytest.approx(0.2))
    assert rates.take("shop.other", 50.0, 0.0).wait == 0.0
    now[0] += 100
    assert rates.take("shop.add", 50.0, 2.0).wait == pytest.approx(-2.0)
    now[0] += 100
    assert rates.take("shop.add", 50.0, 0.0).wait == 0.0


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_start_as_many_as_the_rate_says(alias: str, now: list[float], workers: int) -> None:
    begin, started = now[0], 0
    buckets = [ClusterBucket(partial(rates.take, "shop.add", 50.0)) for _ in range(workers)]
    while now[0] < begin + 20:
        for bucket in buckets:
            if count := bucket.free(now[0]):
                bucket.take(count, now[0])
                started += count
        now[0] += 0.015
    assert 950 <= started <= 1001


def test_far_starts_are_not_taken(alias: str, now: list[float]) -> None:
    assert rates.take("shop.add", 0.5, 0.0).count == 1
    again = rates.take("shop.add", 0.5, 0.0)
    assert (again.count, again.wait) == (0, pytest.approx(1.5))
    now[0] += 1.5
    assert rates.take("shop.add", 0.5, 0.0).count == 1
    rates.take("shop.add", 1 / 3600, 0.0)
    assert rates.take("shop.add", 1 / 3600, 0.0).wait <= 5.0


def test_limit_that_was_set_holds_for_all_workers_at_once(alias: str) -> None:
    assert rates.take("shop.add", 1 / 3600, 0.0).count == 1
    rates.set_rate("shop.add", 100.0)
    assert rates.take("shop.add", 1 / 3600, 0.0).count == 20
    rates.set_rate("shop.add", None)
    free = rates.take("shop.add", 1 / 3600, 0.0)
    assert (free.rate, free.count > 100) == (None, True)
    assert RateLimit.objects.using(alias).count() == 1


def test_rate_that_was_raised_in_the_code_holds_soon(alias: str, now: list[float]) -> None:
    assert rates.take("shop.add", 1 / 3600, 0.0).count == 1
    ahead = rates.take("shop.add", 100.0, 0.0)
    assert (ahead.count, ahead.wait < 1.0) == (0, True)
    now[0] += ahead.wait
    assert rates.take("shop.add", 100.0, 0.0).count == 20


def test_clock_that_steps_back_stops_no_task_for_long(alias: str, now: list[float]) -> None:
    assert rates.take("shop.add", 100.0, 0.0).count == 20
    now[0] -= 3600
    now[0] += rates.take("shop.add", 100.0, 0.0).wait
    assert rates.take("shop.add", 100.0, 0.0).count == 20


def take_apart(alias: str) -> Starts:
    """Take starts over a connection of this thread."""
    try:
        return rates.take("shop.add", 100.0, 0.0)
    finally:
        connections[alias].close()


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)  # SQLite locks no single rows
def test_row_that_somebody_else_has_locked_gives_no_starts_and_no_wait(alias: str) -> None:
    rates.set_rate("shop.add", 100.0)
    with ThreadPoolExecutor(1) as pool, transaction.atomic(using=alias):
        assert RateLimit.objects.using(alias).select_for_update().get()
        starts = pool.submit(take_apart, alias).result(timeout=60)
    assert (starts.count, starts.wait > 0) == (0, True)
    assert rates.take("shop.add", 100.0, 0.0).count == 20
