"""Statistics: what workers count is added up in rows of minutes and hours."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, ProgrammingError, connections

from taskq import clock, states
from taskq.histograms import BUCKETS
from taskq.models import Statistic
from taskq.records import Settlement
from taskq.store import statistics
from taskq.store.statistics import COUNTERS, Key
from taskq.worker.duties.statistics import EVERY, Statistics

NAMES = {"shop.add", "shop.mail"}
MINUTE = 28_333_333


def end(state: str, name: str = "shop.add", waited: float | None = 0.05, ran: float | None = 2.0) -> Settlement:
    return Settlement(1, "t", state, name, "taskq", waited=waited, runtime=ran)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The database's clock, which stands until a test moves it."""
    now = [MINUTE * 60.0 + 59]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    return now


def row(alias: str, seconds: int, name: str, **more: object) -> Statistic:
    return Statistic.objects.using(alias).get(seconds=seconds, name=name, **more)


def test_counts_go_to_their_minute_and_hour(alias: str, now: list[float]) -> None:
    duty = Statistics(alias, NAMES)
    duty.count([end(states.SUCCESS), end(states.SUCCESS), end(states.RETRY), end(states.FAILURE, "shop.mail")])
    now[0] += 2
    duty.count([end(states.REVOKED, waited=None, ran=None), end(states.SUCCESS, ran=0.001), end(states.IGNORED)])
    duty.write()
    first = row(alias, 60, "shop.add", period=MINUTE * 60)
    assert (first.succeeded, first.failed, first.retried, first.revoked) == (2, 0, 1, 0)
    assert (first.ran_5, first.waited_2) == (3, 3)
    assert row(alias, 60, "shop.mail").failed == 1
    second = row(alias, 60, "shop.add", period=MINUTE * 60 + 60)
    assert (second.succeeded, second.revoked, second.ran_0) == (1, 1, 1)
    hour = row(alias, 3600, "shop.add")
    assert hour.period == MINUTE // 60 * 3600
    assert (hour.succeeded, hour.retried, hour.revoked) == (3, 1, 1)
    assert sum(getattr(hour, f"ran_{number}") for number in range(BUCKETS)) == 4


def test_nothing_is_written_twice(alias: str, now: list[float]) -> None:
    duty = Statistics(alias, NAMES)
    for _ in range(3):
        duty.count([end(states.SUCCESS)])
        duty.write()
        duty.write()
    assert row(alias, 60, "shop.add").succeeded == 3
    assert duty.due() is None
    duty.count([end(states.SUCCESS)])
    assert 0 < (duty.due() or 0) <= EVERY
    duty.work()
    assert row(alias, 60, "shop.add").succeeded == 3


def test_names_that_no_worker_knows_make_one_row(alias: str, now: list[float]) -> None:
    duty = Statistics(alias, NAMES)
    duty.count([end(states.FAILURE, f"evil.{number}") for number in range(100)])
    duty.write()
    assert row(alias, 60, "").failed == 100
    assert Statistic.objects.using(alias).filter(seconds__gt=0).count() == 2


def test_sum_of_all_names_of_a_queue_is_a_row_too(alias: str, now: list[float]) -> None:
    duty = Statistics(alias, NAMES)
    for name in ("shop.add", "shop.mail", "evil"):
        duty.count([end(states.SUCCESS, name)])
        duty.write()
    for seconds in (60, 3600):
        found = row(alias, -seconds, "", queue="taskq")
        assert (found.succeeded, found.waited_2, found.ran_5) == (3, 3, 3)


def test_workers_add_to_the_same_rows(alias: str) -> None:
    counted: dict[Key, list[int]] = {
        (MINUTE, name, queue): [1] * len(COUNTERS) for name in ("b", "a", "c") for queue in ("q", "p")
    }

    def write(order: int) -> None:
        try:
            for _ in range(5):
                statistics.add(dict(sorted(counted.items(), reverse=bool(order))), alias)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, (0, 1)))
    rows = Statistic.objects.using(alias)
    assert {row.succeeded for row in rows.filter(seconds=60)} == {10}
    assert (rows.filter(seconds__gt=0).count(), row(alias, 3600, "a", queue="p").failed) == (12, 10)
    assert {found.failed for found in rows.filter(seconds__lt=0)} == {3 * 10}


@pytest.mark.parametrize(("error", "kept"), [(OperationalError, True), (ProgrammingError, False)])
def test_what_the_database_refuses_is_dropped(
    alias: str, now: list[float], monkeypatch: pytest.MonkeyPatch, error: Callable[[str], Exception], kept: bool
) -> None:
    def fail(*about: object) -> None:
        raise error("no")

    duty = Statistics(alias, NAMES)
    duty.count([end(states.SUCCESS)])
    with monkeypatch.context() as patched:
        patched.setattr(statistics, "add", fail)
        if kept:
            with pytest.raises(OperationalError):
                duty.write()
        else:
            duty.write()
    duty.write()
    assert Statistic.objects.using(alias).count() == (4 if kept else 0)


def test_old_minutes_and_hours_are_deleted(alias: str) -> None:
    now = int(clock.now())
    for age in (timedelta(0), timedelta(hours=24), timedelta(hours=27), timedelta(days=30), timedelta(days=33)):
        minute = (now - int(age.total_seconds())) // 60
        statistics.add({(minute, "a", "q"): [1] * len(COUNTERS), (minute, "b", "q"): [1] * len(COUNTERS)}, alias)
    assert sum(statistics.expire(3, alias)) == 3 * (3 + 1)
    rows = Statistic.objects.using(alias)
    kept = [rows.filter(seconds=seconds).count() for seconds in (60, 3600, -60, -3600)]
    assert kept == [2 * 2, 2 * 4, 2, 4]
