"""Processes killed between the row of a large result and its settlement: the task runs again, and no row is left."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest
from django.db.models import F

from taskq.models import Group, LargeText, TaskRun
from taskq.store import retention
from tests.support.jobs.endings import repeat
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def test_kill_at_each_point_loses_no_result_and_leaves_no_row(alias: str, start_worker: StartWorker) -> None:
    stored = Group.objects.using(alias).filter(group_id__startswith="result:")
    results = []
    for number, point in enumerate(("received", "uncommitted", "committed")):
        results += [repeat.delay(f"{number}", 300_000) for _ in range(2)]
        worker = start_worker("-n", f"w{number}", ready=False, environment={"TEST_DEATH": f"{point}:1"})
        assert worker.wait() == -signal.SIGKILL, f"{point}\n{worker.log}"
    # A child that has written the row, and tells nobody. Each child of this worker does so.
    results += [repeat.delay("3", 300_000) for _ in range(2)]
    before = stored.count()
    worker = start_worker("-n", "w3", ready=False, environment={"TEST_DEATH": "stored:1"})
    wait_until(lambda: stored.count() > before, 60, what="a row without an outcome")
    worker.kill()
    start_worker("-n", "last")
    for number, result in enumerate(results):
        assert result.get(timeout=120) == f"{number // 2}" * 300_000
    # Rows of those that died are left to retention.
    assert stored.exists()
    Group.objects.using(alias).update(created_at=F("created_at") - timedelta(days=30))
    sum(retention.sweep({}, alias))
    assert not Group.objects.using(alias).exists()
    TaskRun.objects.using(alias).all().delete()
    assert not LargeText.objects.using(alias).exists()
