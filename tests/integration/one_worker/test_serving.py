"""The worker's own figures after tasks of all kinds, and its probes."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskq.models import Message, TaskRun
from taskq.timezones import now
from tests.support.jobs import tasks
from tests.support.processes import Process
from tests.support.serving import ask, metrics
from tests.support.waiting import wait_until


def ends(worker: Process, name: str, state: str) -> float:
    found = metrics(worker)["taskq_worker_tasks_total"].values
    return found.get(("taskq_worker_tasks_total", frozenset({("name", name), ("state", state)})), 0)


def test_ends_and_times_are_counted_by_task(alias: str, worker: Process, notes: Path) -> None:
    succeeded, retried = (ends(worker, tasks.fail_twice.name, state) for state in ("SUCCESS", "RETRY"))
    tasks.fail_twice.delay(str(notes)).get(timeout=60)
    wait_until(lambda: ends(worker, tasks.fail_twice.name, "SUCCESS") == succeeded + 1, what="the end to be counted")
    assert ends(worker, tasks.fail_twice.name, "RETRY") == retried + 2
    found = metrics(worker)
    for figure in ("taskq_worker_task_runtime_seconds", "taskq_worker_task_waiting_seconds"):
        assert found[figure].value("_count", name=tasks.fail_twice.name) >= 3
        assert 0 <= found[figure].value("_sum", name=tasks.fail_twice.name) < 60
    assert found["taskq_worker_claim_seconds"].value("_count") > 0
    assert found["taskq_worker_settle_seconds"].value("_count") > 0
    assert found["taskq_worker_claimed_messages_total"].value() >= 3


def test_pool_use_is_told(alias: str, worker: Process, notes: Path, go_on: Path) -> None:
    assert metrics(worker)["taskq_worker_slots"].value() == 2
    waiting = tasks.progress.delay(str(notes), str(go_on))
    wait_until(lambda: metrics(worker)["taskq_worker_busy_slots"].value() >= 1, what="a slot to be busy")
    assert metrics(worker)["taskq_worker_held_messages"].value() >= 1
    go_on.touch()
    waiting.get(timeout=60)


def test_names_from_messages_are_bounded(alias: str, worker: Process) -> None:
    rows = [Message(queue="taskq", task_id=f"hostile-{n}", name="", headers=f'{{"task": "hostile.{n}", "id": "h-{n}"}}',
                    body='[[], {}, {}]', properties="{}", created_at=now()) for n in range(60)]  # fmt: skip
    before = metrics(worker)["taskq_worker_tasks_total"].values
    others = ends(worker, "(other)", "FAILURE")
    Message.objects.using(alias).bulk_create(rows)
    runs = TaskRun.objects.using(alias).filter(task_id__in=[row.task_id for row in rows], state="FAILURE")
    wait_until(lambda: runs.count() == 60, what="the tasks to fail")
    wait_until(lambda: ends(worker, "(other)", "FAILURE") >= others + 40, what="the failures to be counted")
    after = metrics(worker)["taskq_worker_tasks_total"].values
    assert len(after.keys() - before.keys()) <= 21


def test_a_message_that_is_no_task_is_counted(alias: str, worker: Process) -> None:
    def dropped() -> float:
        return metrics(worker)["taskq_worker_messages_dropped_total"].value(reason="no_task")

    before = dropped()
    Message.objects.using(alias).create(
        queue="taskq", task_id="x", headers='{"no": "task"}', body="[]", properties="{}", created_at=now()
    )
    wait_until(lambda: dropped() == before + 1, what="the message to be counted")


@pytest.mark.parametrize("path", ["/live", "/ready"])
def test_a_worker_that_takes_tasks_passes_its_probes(alias: str, worker: Process, path: str) -> None:
    assert ask(worker, path)[0] == 200
