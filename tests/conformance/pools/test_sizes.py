"""Growing and shrinking, and the end of a pool."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.unit.worker.pools.driver import alive, deliveries, delivery, server_pid

from .conftest import Drive
from .kinds import Kind, of_one_size, resizable, with_children
from .test_deliveries import blocked


@resizable
def test_pool_grows_and_shrinks_under_work(drive: Drive, tmp_path: Path) -> None:
    with drive(concurrency=1) as driver:
        driver.pool.grow(2)
        driver.until(lambda: sum(slot.accepting for slot in driver.pool.slots) == 3)
        busy = driver.pool.slots[2]
        running = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go")
        driver.pool.hand_over(busy, [running])
        driver.until((tmp_path / "began").exists)

        driver.pool.shrink(2)
        assert list(driver.pool.slots) == [busy]
        with pytest.raises(ValueError, match="one must remain"):
            driver.pool.shrink()
        driver.pool.grow()
        driver.until(lambda: sum(slot.accepting for slot in driver.pool.slots) >= 1)
        (tmp_path / "go").touch()
        driver.answered([running])
        driver.work_off(deliveries(5, "pid"))

        assert driver.pool.concurrency == len({slot.index for slot in driver.pool.slots}) == 2
        assert driver.lost == []


@resizable
def test_slot_that_is_taken_away_ends_its_task(drive: Drive, kind: Kind, tmp_path: Path) -> None:
    with drive(concurrency=2) as driver:
        running, waiting = blocked(driver, tmp_path, behind=int(kind.batches))

        driver.pool.shrink()
        driver.pool.grow()

        assert len({slot.index for slot in driver.pool.slots}) == 2
        assert len(driver.returned) == int(kind.batches)
        (tmp_path / "go").touch()
        driver.until(lambda: len(driver.outcomes) == len(running) + len(waiting) - len(driver.returned))
        driver.until(lambda: all(slot.accepting for slot in driver.pool.slots))
        driver.work_off(deliveries(5, "pid"))


@of_one_size
def test_pool_of_one_size_says_so(drive: Drive, kind: Kind) -> None:
    with drive(concurrency=4) as driver:
        assert len(driver.pool.slots) == driver.pool.concurrency == 1
        with pytest.raises(ValueError, match="--pool threads"):
            driver.pool.grow()
        with pytest.raises(ValueError, match="one thread"):
            driver.pool.shrink()


def test_quiesced_pool_lets_running_tasks_end(drive: Drive, tmp_path: Path) -> None:
    with drive(concurrency=2) as driver:
        running, _ = blocked(driver, tmp_path)

        driver.pool.quiesce()
        assert not any(slot.accepting for slot in driver.pool.slots)
        (tmp_path / "go").touch()
        driver.answered(running)  # type: ignore[arg-type]
        driver.pool.stop()

        assert driver.pool.unfinished() == driver.lost == driver.broken == []
        assert not driver.pool.left_behind


def test_stop_waits_for_running_tasks(drive: Drive, tmp_path: Path) -> None:
    with drive() as driver:
        running, _ = blocked(driver, tmp_path)
        driver.pool.quiesce()

        threading.Timer(0.02, (tmp_path / "go").touch).start()
        driver.pool.stop()

        assert [one.job for one in running] == list(driver.outcomes)  # type: ignore[attr-defined]


@with_children
def test_stopped_pool_leaves_no_process(drive: Drive) -> None:
    with drive(concurrency=2) as driver:
        pids = [*driver.pool.info()["processes"], server_pid(driver)]
        assert all(alive(pid) for pid in pids)

        driver.pool.stop()

        assert not any(alive(pid) for pid in pids)
        assert driver.lost == driver.broken == []


def test_killed_pool_lists_what_it_cut_short(drive: Drive, kind: Kind, tmp_path: Path) -> None:
    with drive(concurrency=2) as driver:
        running, waiting = blocked(driver, tmp_path, behind=int(kind.batches))
        pids = driver.pool.info()["processes"] if kind.has_children else []

        driver.pool.kill()

        wanted = {one.job: True for one in running} | {one.job: False for one in waiting}  # type: ignore[attr-defined]
        assert {one.job: started for one, started in driver.pool.unfinished()} == wanted
        assert driver.outcomes == {}
        assert not any(alive(pid) for pid in pids)
        assert driver.pool.left_behind == (not kind.has_children)
        (tmp_path / "go").touch()


@with_children
def test_restarted_pool_has_new_processes_and_loses_nothing(drive: Drive, tmp_path: Path) -> None:
    with drive(concurrency=2) as driver:
        running, _ = blocked(driver, tmp_path)
        old = set(driver.pool.info()["processes"])

        driver.pool.restart()
        (tmp_path / "go").touch()
        driver.answered(running)  # type: ignore[arg-type]
        driver.until(lambda: all(slot.accepting for slot in driver.pool.slots))
        driver.until(lambda: not old & set(driver.pool.info()["processes"]))

        work = deliveries(4, "pid")
        driver.work_off(work)
        assert not {int(str(driver.outcomes[one.job].result)) for one in work} & old
        assert driver.lost == []


@with_children
def test_restart_leaves_alone_what_has_just_been_started(drive: Drive) -> None:
    def children() -> set[int]:
        return {child.number for _, child in driver.pool.children.living}  # type: ignore[attr-defined]

    with drive(concurrency=2) as driver:
        driver.until(lambda: all(slot.accepting for slot in driver.pool.slots))
        old = children()
        driver.pool.restart()
        both = children()
        assert both > old
        # The loop has not run: the new ones can't be up.
        driver.pool.restart()
        assert children() == both
        driver.until(lambda: not old & children())
        driver.work_off(deliveries(4, "pid"))
