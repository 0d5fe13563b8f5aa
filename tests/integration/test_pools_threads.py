"""The threads and solo pools, with real threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from django.db import connections

from taskq.exceptions import SoftTimeLimitExceeded
from taskq.handover import Delivery, Outcome
from taskq.worker.pools.base import ReportFn
from taskq.worker.pools.registry import pool_class
from taskq.worker.pools.soft_limits import thread_limit
from tests.unit.worker.pools.driver import deliveries, delivery, driving


def test_threads_pool_runs_all_deliveries():
    with driving("threads", concurrency=3) as driver:
        work = [delivery("pid") for _ in range(50)]

        driver.work_off(work)
        driver.pool.stop()

        assert len(driver.outcomes) == 50
        assert driver.pool.unfinished() == []


def test_take_back_returns_deliveries_that_have_not_started(tmp_path: Path):
    with driving("threads") as driver:
        (slot,) = driver.pool.slots
        running = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go")
        waiting = deliveries(4, "pid")
        driver.pool.hand_over(slot, [running, *waiting])
        driver.until((tmp_path / "began").exists)

        assert driver.pool.unfinished() == [(running, True), *((one, False) for one in waiting)]
        assert driver.pool.take_back(slot, 1) == waiting[3:]
        assert driver.pool.take_back(slot) == waiting[:3]
        (tmp_path / "go").touch()
        driver.answered([running])

        assert (slot.idle, slot.busy_since) == (True, None)


def test_error_and_exit_of_a_task_are_failure_outcomes():
    with driving("threads") as driver:
        work = [delivery("crash:error"), delivery("crash:exit3"), delivery("pid")]

        driver.work_off(work)

        assert [driver.outcomes[one.job].state for one in work] == ["FAILURE", "FAILURE", "SUCCESS"]


def test_reports_come_before_the_outcome():
    with driving("threads") as driver:
        driver.work_off([delivery("report:50")])

        assert [report.meta for report in driver.reports] == ["50"]


def spin(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass


def test_soft_limit_interrupts_its_task_and_not_the_next():
    def run(received: Delivery, report: ReportFn) -> Outcome:
        try:
            with thread_limit(received.soft_time_limit or 60.0):
                # In a function of its own, as a task is: from Python 3.12 on what is raised at the jump that
                # ends a loop passes by the handlers of its own frame.
                spin(20.0 if received.soft_time_limit else 0.0)
        except SoftTimeLimitExceeded as error:
            return Outcome(received.job, received.task_id, "FAILURE", str(error.args))
        return Outcome(received.job, received.task_id, "SUCCESS")

    with driving("threads", run=run) as driver:
        limited, free = delivery(soft_time_limit=0.05), delivery()

        driver.work_off([limited, free])

        assert driver.outcomes[limited.job].result == "(0.05,)"
        assert driver.outcomes[free.job].state == "SUCCESS"


def test_threads_pool_can_not_kill_and_lists_unfinished_deliveries(tmp_path: Path):
    with driving("threads") as driver:
        (slot,) = driver.pool.slots
        running, waiting = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go"), delivery("pid")
        driver.pool.hand_over(slot, [running, waiting])
        driver.until((tmp_path / "began").exists)

        assert not driver.pool.supports_hard_limit
        assert not driver.pool.terminate(running.job)
        driver.pool.kill()

        assert driver.pool.unfinished() == [(running, True), (waiting, False)]
        assert waiting.job not in driver.outcomes
        (tmp_path / "go").touch()


def test_stopping_the_threads_pool_waits_for_running_tasks(tmp_path: Path):
    with driving("threads") as driver:
        (slot,) = driver.pool.slots
        running = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go")
        driver.pool.hand_over(slot, [running])
        driver.until((tmp_path / "began").exists)
        driver.pool.quiesce()
        assert not slot.accepting

        threading.Timer(0.02, (tmp_path / "go").touch).start()
        driver.pool.stop()

        assert running.job in driver.outcomes


def test_threads_pool_grows_and_shrinks_under_work(tmp_path: Path):
    with driving("threads", concurrency=1) as driver:
        driver.pool.grow(2)
        busy = driver.pool.slots[1]
        running, waiting = delivery(f"touch:{tmp_path}/began until:{tmp_path}/go"), delivery("pid")
        driver.pool.hand_over(busy, [running, waiting])
        driver.until((tmp_path / "began").exists)

        driver.pool.shrink(2)
        assert list(driver.pool.slots) == [busy]
        with pytest.raises(ValueError, match="one must remain"):
            driver.pool.shrink()
        driver.pool.grow()
        (tmp_path / "go").touch()
        driver.answered([running, waiting])
        driver.work_off(deliveries(4, "pid"))

        assert len(driver.pool.info()["threads"]) == 2


def test_shrinking_returns_deliveries_waiting_in_the_removed_thread(tmp_path: Path):
    with driving("threads", concurrency=2) as driver:
        for number, slot in enumerate(driver.pool.slots):
            work = [delivery(f"touch:{tmp_path}/began{number} until:{tmp_path}/go"), delivery("pid")]
            driver.pool.hand_over(slot, work)
        driver.until(lambda: len(list(tmp_path.iterdir())) == 2)

        driver.pool.shrink()

        assert [one.body for one in driver.returned] == ["pid"]
        (tmp_path / "go").touch()
        driver.until(lambda: len(driver.outcomes) == 3)


@pytest.mark.django_db(transaction=True)
def test_ended_thread_has_closed_its_connections():
    opened = []

    def run(received: Delivery, report: ReportFn) -> Outcome:
        connections["default"].ensure_connection()
        opened.append(connections["default"])
        return Outcome(received.job, received.task_id, "SUCCESS")

    with driving("threads", run=run) as driver:
        driver.work_off([delivery()])
        driver.pool.stop()

    assert opened[0].connection is None


def test_solo_pool_has_one_thread_and_can_not_grow():
    with driving("solo", concurrency=4) as driver:
        driver.work_off(deliveries(5, "pid"))

        assert len(driver.pool.slots) == driver.pool.concurrency == 1
        with pytest.raises(ValueError, match="--pool threads"):
            driver.pool.grow()
        with pytest.raises(ValueError, match="one thread"):
            driver.pool.shrink()


def test_pools_are_found_by_name():
    assert pool_class("solo").name == "solo"
    with pytest.raises(ValueError, match="--pool takes prefork, threads, solo"):
        pool_class("processes")
