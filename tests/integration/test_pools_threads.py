"""The threads and solo pools, with real threads."""

from __future__ import annotations

import sys
import time

import pytest
from django.db import connections

from taskq.exceptions import SoftTimeLimitExceeded
from taskq.handover import Delivery, Outcome
from taskq.worker.pools.base import ReportFn
from taskq.worker.pools.soft_limits import thread_limit
from tests.unit.worker.pools.driver import delivery, driving


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


@pytest.mark.parametrize("kind", ["threads", "solo"])
def test_thread_that_computes_gives_way_sooner_while_the_pool_runs(kind: str):
    before = sys.getswitchinterval()
    with driving(kind) as driver:
        assert sys.getswitchinterval() == pytest.approx(0.001)
        driver.pool.stop()
    assert sys.getswitchinterval() == pytest.approx(before)
