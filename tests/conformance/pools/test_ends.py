"""How tasks are ended, how children are lost, and how they are replaced."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest

from tests.unit.worker.pools.driver import alive, deliveries, delivery

from .conftest import Drive
from .kinds import Kind, with_children, with_hard_limits, with_recycling, with_terminate, without_terminate
from .test_deliveries import blocked


@with_hard_limits
def test_hard_limit_ends_its_task(drive: Drive, tmp_path: Path) -> None:
    with drive(concurrency=2) as driver:
        late = delivery(f"until:{tmp_path}/never", time_limit=0.1)
        other = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go")
        first, second = driver.pool.slots
        driver.pool.hand_over(second, [other])
        driver.until((tmp_path / "began").exists)

        driver.pool.hand_over(first, [late])
        driver.until(lambda: driver.lost)

        (lost,) = driver.lost
        assert (lost.started, lost.unstarted, lost.interrupted, lost.killed_for) == ([late], [], [], "time_limit")
        assert late.job not in driver.outcomes
        (tmp_path / "go").touch()
        driver.answered([other])
        driver.until(lambda: all(slot.accepting for slot in driver.pool.slots))
        driver.work_off(deliveries(3, "pid"))


@with_hard_limits
def test_hard_limit_leaves_alone_tasks_that_end_in_time(drive: Drive) -> None:
    with drive() as driver:
        for _ in range(5):
            driver.work_off([delivery("pid", time_limit=30.0)])

        assert len(driver.outcomes) == 5
        assert driver.lost == []


@with_terminate
def test_terminate_ends_the_running_task_and_no_other(drive: Drive, tmp_path: Path) -> None:
    with drive(concurrency=3) as driver:
        running, _ = blocked(driver, tmp_path)

        assert driver.pool.terminate(running[1].job, "SIGKILL")  # type: ignore[attr-defined]
        driver.until(lambda: driver.lost)

        (lost,) = driver.lost
        assert (lost.started, lost.unstarted, lost.interrupted) == ([running[1]], [], [])
        assert lost.killed_for == "terminate:SIGKILL"
        assert not driver.pool.terminate(running[1].job)  # type: ignore[attr-defined]
        (tmp_path / "go").touch()
        driver.answered([running[0], running[2]])  # type: ignore[list-item]


@with_terminate
def test_unknown_signals_and_jobs_end_nothing(drive: Drive, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with drive() as driver:
        (running,), _ = blocked(driver, tmp_path)

        assert not driver.pool.terminate(running.job, "SIGNONE")  # type: ignore[attr-defined]
        assert not driver.pool.terminate(running.job + 1000)  # type: ignore[attr-defined]

        assert "SIGNONE" in caplog.text
        (tmp_path / "go").touch()
        driver.answered([running])  # type: ignore[list-item]


@without_terminate
def test_pool_that_can_not_end_a_task_says_so(drive: Drive, kind: Kind, tmp_path: Path) -> None:
    with drive() as driver:
        (running,), _ = blocked(driver, tmp_path)

        assert not driver.pool.terminate(running.job)  # type: ignore[attr-defined]

        assert not kind.cls.supports_hard_limit
        (tmp_path / "go").touch()
        driver.answered([running])  # type: ignore[list-item]


@with_children
def test_killed_child_is_replaced_and_its_tasks_are_named(drive: Drive, tmp_path: Path) -> None:
    with drive(concurrency=2) as driver:
        running, _ = blocked(driver, tmp_path)
        pids = {slot.pid for slot in driver.pool.slots if slot.pid}

        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        driver.until(lambda: len(driver.lost) == len(pids))

        started = [one.job for lost in driver.lost for one in lost.started]
        assert sorted(started) == [one.job for one in running]  # type: ignore[attr-defined]
        assert all("signal 9 (SIGKILL)" in lost.reason and lost.killed_for is None for lost in driver.lost)
        driver.until(lambda: all(slot.accepting for slot in driver.pool.slots))
        work = deliveries(4, "pid")
        driver.work_off(work)
        assert not {driver.outcomes[one.job].result for one in work} & {str(pid) for pid in pids}


@with_children
def test_killed_idle_child_is_replaced(drive: Drive) -> None:
    with drive() as driver:
        (slot,) = driver.pool.slots
        old = slot.pid
        assert old is not None

        os.kill(old, signal.SIGKILL)
        driver.until(lambda: slot.pid not in (old, None) and slot.accepting)

        assert driver.lost[0].started == driver.lost[0].unstarted == []
        driver.work_off([delivery("pid")])


@with_children
def test_frozen_child_gives_back_what_it_has_not_started(drive: Drive) -> None:
    with drive() as driver:
        (slot,) = driver.pool.slots
        assert slot.pid is not None
        os.kill(slot.pid, signal.SIGSTOP)
        # More than its socket takes.
        work = deliveries(min(3, slot.room), "skip:" + "x" * 500_000)

        driver.pool.hand_over(slot, work)

        assert driver.pool.take_back(slot) == work
        os.kill(slot.pid, signal.SIGCONT)
        last = delivery("pid")
        driver.pool.hand_over(slot, [last])
        driver.answered([last])
        assert driver.outcomes[last.job].result == str(slot.pid)
        assert list(driver.outcomes) == [last.job]


@pytest.mark.parametrize("limit", [1, 3])
@with_recycling
def test_children_recycled_under_load_lose_no_delivery(drive: Drive, kind: Kind, limit: int) -> None:
    with drive(concurrency=2, max_tasks_per_child=limit) as driver:
        count = limit + 1 if kind.slow else 30
        driver.work_off(deliveries(count, "pid"), batch=7)

        assert len(driver.outcomes) == count
        assert driver.lost == []
        pids = [outcome.result for outcome in driver.outcomes.values()]
        assert max(pids.count(pid) for pid in pids) <= limit


@with_children
def test_recycled_child_ends_its_tasks_while_the_next_one_works(drive: Drive, kind: Kind, tmp_path: Path) -> None:
    with drive(concurrency=2, max_tasks_per_child=1) as driver:
        first, second = driver.pool.slots
        long = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go pid")
        driver.pool.hand_over(first, [long])
        driver.until((tmp_path / "began").exists)

        work = deliveries(2 if kind.slow else 4, "pid")
        for one in work:
            driver.until(lambda: second.accepting)
            driver.pool.hand_over(second, [one])
            driver.answered([one])

        (tmp_path / "go").touch()
        driver.answered([long])
        pids = [driver.outcomes[one.job].result for one in (long, *work)]
        assert len(set(pids)) == len(pids)
        driver.until(lambda: not any(alive(int(str(pid))) for pid in pids))
        assert driver.lost == []


@with_recycling
def test_child_above_max_memory_is_replaced(drive: Drive, kind: Kind) -> None:
    # A forked child has the pages of this process from its start.
    limit = getrusage(RUSAGE_SELF).ru_maxrss + 100_000
    with drive(max_memory_per_child=limit) as driver:
        modest, greedy, behind = delivery("pid"), delivery(f"hoard:{limit // 1000} pid"), deliveries(3, "pid")

        driver.work_off([modest, greedy, *behind])

        assert 0 < driver.outcomes[modest.job].memory < limit < driver.outcomes[greedy.job].memory
        assert driver.outcomes[behind[-1].job].result != driver.outcomes[greedy.job].result
        assert driver.lost == []
