"""A worker killed while it works off follow-ups in parts: another one goes on, and each task ends once."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime

import pytest

from taskq import AsyncResult, chord, group, states
from taskq.models import Group, Message, TaskRun
from taskq.workflows.large_bodies import MOST_BYTES, TASK
from tests.support.audit import audit, times_final
from tests.support.jobs.flows import add, same
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = [pytest.mark.faults, pytest.mark.parametrize("database", ["postgresql", "sqlite"], indirect=True)]

STEPS = 3_000


def put_chain(alias: str) -> list[str]:
    """Insert the message of a chain as another program sends it, whole; its second step fails. Return all ids."""
    ids = [f"step-{number}" for number in range(STEPS)]
    steps = [
        {"task": add.name, "args": ["x"] if n == 1 else [1], "kwargs": {}, "options": {"task_id": task_id}}
        for n, task_id in enumerate(ids)
    ]
    headers = json.dumps({"task": add.name, "id": ids[0], "root_id": ids[0]})
    message = Message(task_id=ids[0], queue="taskq", headers=headers, properties="{}")
    message.body, message.created_at = json.dumps([[1, 1], {}, {"chain": steps[:0:-1]}]), datetime.now(UTC)
    message.save(using=alias)
    return ids


def test_all_tasks_of_a_long_chain_fail_once_though_the_worker_is_killed(alias: str, start_worker: StartWorker) -> None:
    failed = TaskRun.objects.using(alias).filter(state=states.FAILURE)
    with audit(alias):
        ids = put_chain(alias)
        # At the end of the second part.
        worker = start_worker("-n", "first@h", ready=False, POLL_INTERVAL=0.1, environment={"TEST_DEATH": "part:2"})
        assert worker.wait() == -signal.SIGKILL, worker.log
        before = failed.count()
        # Nothing depends on the first one's message: it is settled.
        assert not Message.objects.using(alias).exists()
        second = start_worker("-n", "second@h", POLL_INTERVAL=0.1)
        # Other tasks have their turn meanwhile.
        assert add.delay(2, 2).get(timeout=60) == 4
        wait_until(lambda: failed.count() == STEPS - 1, what="the other steps to fail")
        ends = times_final(alias)
    assert 0 < before < STEPS - 1
    assert {ends[task_id] for task_id in ids} == {1}
    assert isinstance(AsyncResult(ids[-1]).get(timeout=1, propagate=False), TypeError)
    assert not Group.objects.using(alias).filter(group_id__startswith="pending:").exists()
    assert second.stop() == 0


@pytest.mark.parametrize(
    ("death", "fails"),
    # The second end is that of the task for the body.
    [("received:2", False), ("uncommitted:2", False), ("committed:2", False), ("uncommitted:2", True)],
)
def test_large_body_of_a_chord_ends_once_though_the_worker_is_killed(
    alias: str, start_worker: StartWorker, death: str, fails: bool
) -> None:
    with audit(alias):
        body = group(same.si("x" * MOST_BYTES) for _ in range(2))
        result = chord([add.s(1, "x" if fails else 1)], body).delay()
        worker = start_worker("-n", "first@h", ready=False, POLL_INTERVAL=0.1, environment={"TEST_DEATH": death})
        assert worker.wait() == -signal.SIGKILL, worker.log
        assert Message.objects.using(alias).filter(name=TASK).exists() is not death.startswith("committed")
        start_worker("-n", "second@h", POLL_INTERVAL=0.1)
        wait_until(result.ready, what="the body to end")
        ends = times_final(alias)
    runs = TaskRun.objects.using(alias).filter(name=same.name)
    assert set(runs.values_list("state", flat=True)) == {states.FAILURE if fails else states.SUCCESS}
    assert len(ends) == 3
    assert set(ends.values()) == {1}
    assert not Message.objects.using(alias).exists()
