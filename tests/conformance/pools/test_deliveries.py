"""What goes into a pool, and what comes back."""

from __future__ import annotations

from pathlib import Path

from tests.unit.worker.pools.driver import Driver, deliveries, delivery

from .conftest import Drive
from .kinds import Kind, with_batches


def blocked(driver: Driver, tmp_path: Path, behind: int = 0) -> tuple[list[object], list[object]]:
    """Fill each slot with a task that waits for the file ``go``, and ``behind`` with others; return both."""
    running, waiting = [], []
    for number, slot in enumerate(driver.pool.slots):
        first = delivery(f"touch:{tmp_path}/began{number} until:{tmp_path}/go")
        others = deliveries(behind, f"touch:{tmp_path}/never")
        driver.pool.hand_over(slot, [first, *others])
        running.append(first)
        waiting += others
    driver.until(lambda: len(list(tmp_path.glob("began*"))) == len(running), "all run")
    return running, waiting  # type: ignore[return-value]


def test_all_deliveries_are_answered_once(drive: Drive) -> None:
    with drive(concurrency=3) as driver:
        driver.work_off(deliveries(60, "pid"))

        assert len(driver.outcomes) == 60
        assert driver.pool.unfinished() == driver.lost == driver.broken == []
        assert all((slot.in_flight, slot.idle, slot.busy_since) == (0, True, None) for slot in driver.pool.slots)
        assert driver.pool.info()["max-concurrency"] == driver.pool.concurrency == len(driver.pool.slots)


def test_error_of_the_runner_is_a_failure_of_that_task(drive: Drive, kind: Kind) -> None:
    with drive() as driver:
        broken, sound = delivery("crash:error"), delivery("pid")

        driver.work_off([broken, sound])

        assert [driver.outcomes[one.job].state for one in (broken, sound)] == ["FAILURE", "SUCCESS"]
        assert "a fault of the runner" in str(driver.outcomes[broken.job].result)
        assert driver.lost == []


def test_exit_of_a_task_costs_no_other_task(drive: Drive, kind: Kind) -> None:
    with drive() as driver:
        leaving, sound = delivery("crash:exit3"), delivery("pid")

        driver.work_off([leaving, sound])

        assert driver.outcomes[sound.job].state == "SUCCESS"
        if leaving.job in driver.outcomes:
            assert driver.outcomes[leaving.job].state == "FAILURE"
        else:
            assert [lost.started for lost in driver.lost] == [[leaving]]


def test_large_arguments_and_results_arrive(drive: Drive) -> None:
    with drive(concurrency=2) as driver:
        size = 10_000_000
        large, small = delivery(f"skip:{'x' * size} big:{size}"), delivery("pid")

        driver.work_off([large, small])

        assert driver.outcomes[large.job].result == "x" * size


def test_reports_come_before_the_outcome(drive: Drive) -> None:
    with drive() as driver:
        reporting = delivery("report:50 report:60")

        driver.work_off([reporting])

        assert [report.meta for report in driver.reports] == ["50", "60"]
        assert {report.job for report in driver.reports} == {reporting.job}


def test_deliveries_beyond_the_room_are_returned(drive: Drive) -> None:
    with drive() as driver:
        (slot,) = driver.pool.slots
        work = deliveries(slot.room + 2, "skip:")

        driver.pool.hand_over(slot, work)
        driver.until(lambda: driver.returned)

        assert driver.returned == work[-2:]
        driver.answered(work[:-2])


def test_running_tasks_are_not_taken_back(drive: Drive, tmp_path: Path) -> None:
    with drive(concurrency=2) as driver:
        running, _ = blocked(driver, tmp_path)

        assert [driver.pool.take_back(slot) for slot in driver.pool.slots] == [[] for _ in running]
        assert driver.pool.unfinished() == [(one, True) for one in running]
        assert all(slot.busy_since is not None and slot.in_flight == 1 for slot in driver.pool.slots)
        (tmp_path / "go").touch()
        driver.until(lambda: len(driver.outcomes) == len(running))


@with_batches
def test_take_back_returns_deliveries_that_have_not_started(drive: Drive, kind: Kind, tmp_path: Path) -> None:
    with drive() as driver:
        running, waiting = blocked(driver, tmp_path, behind=5)
        (slot,) = driver.pool.slots

        assert driver.pool.unfinished() == [(running[0], True), *((one, False) for one in waiting)]
        assert driver.pool.take_back(slot, 2) == waiting[3:]
        assert driver.pool.take_back(slot) == waiting[:3]
        assert driver.pool.take_back(slot) == []
        again = delivery("pid")
        driver.pool.hand_over(slot, [again])
        assert driver.pool.unfinished() == [(running[0], True), (again, False)]
        (tmp_path / "go").touch()
        driver.answered([running[0], again])  # type: ignore[list-item]

        assert not (tmp_path / "never").exists()
