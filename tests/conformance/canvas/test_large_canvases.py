"""One message names a large canvas: its tasks are sent, or fail, in parts, but for the body of a chord.

The parts are small here, so that few tasks are many.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import AsyncResult, states
from taskq.models import Group, Message, Node, TaskRun
from taskq.store import parts as store
from taskq.store.settle import settle
from tests.support.jobs.flows import add
from tests.support.worker_here import WorkerHere

from .test_parts import COUNT, in_small_steps, sent, signatures, small_parts, worked_off

__all__ = ["small_parts"]
IDS = [f"task-{n:02}" for n in range(COUNT)]


def put(alias: str, name: str, *args: Any, **embed: Any) -> AsyncResult[Any]:
    headers = json.dumps({"task": name, "id": "first", "root_id": "first"})
    message = Message(task_id="first", queue="taskq", headers=headers, properties="{}", created_at=datetime.now(UTC))
    message.body = json.dumps([args, {}, embed])
    message.save(using=alias)
    return AsyncResult("first")


def of_group(*args: Any) -> dict[str, Any]:
    tasks = {"tasks": signatures(*args)}
    return {"task": "celery.group", "args": [], "kwargs": tasks, "options": {}, "subtask_type": "group"}


def test_group_in_the_place_of_a_task_is_sent_few_at_a_time(alias: str) -> None:
    result = put(alias, "celery.group", signatures(1, 1))
    worker = WorkerHere(alias)
    (end,) = worker.run(worker.take())
    assert (len(end.follow_ups.envelopes), len(end.follow_ups.nodes)) == (1, 2)
    settle(worker.token, [end], alias)
    counts = [sent(alias).count()]
    while pending := store.pending_rows(alias):
        store.work_off(pending[0], alias)
        counts.append(sent(alias).count())
    assert in_small_steps(counts)
    assert counts[-1] == COUNT
    assert set(Node.objects.using(alias).values_list("task_id", flat=True)) == {"first", *IDS}
    worker.work()
    assert result.get(timeout=1) == [2] * COUNT


def test_group_whose_tasks_were_sent_before_replaces_nothing(alias: str) -> None:
    result = put(alias, "celery.group", signatures(1, 1))
    WorkerHere(alias).work()
    assert result.get(timeout=1) == [2] * COUNT
    TaskRun.objects.using(alias).filter(task_id="first").update(state=states.PENDING)
    put(alias, "celery.group", signatures(1, 1))
    WorkerHere(alias).work()
    with pytest.raises(ValueError, match="was sent before"):
        AsyncResult("first").get(timeout=1)


def test_chord_whose_body_is_a_large_group_takes_the_place_of_a_task(alias: str) -> None:
    result = put(alias, "celery.chord", [add.s(1, 1), add.s(2, 2)], of_group(["x"]))
    WorkerHere(alias).work()
    assert result.get(timeout=1) == [[2, 4, "x"]] * COUNT
    assert not Group.objects.using(alias).filter(remaining__gt=0).exists()


def test_chord_whose_body_is_a_large_group_fails_with_all_of_it(alias: str) -> None:
    result = put(alias, "celery.chord", [add.s(1, 1), add.s(1, "x")], of_group(1))
    WorkerHere(alias).work()
    with pytest.raises(TypeError):
        result.get(timeout=1)
    runs = TaskRun.objects.using(alias)
    assert runs.filter(task_id__in=IDS, state=states.FAILURE).count() == COUNT
    assert not Message.objects.using(alias).exists()


def test_many_errbacks_are_sent_few_at_a_time(alias: str) -> None:
    errbacks = [{**sig, "immutable": True} for sig in signatures(1, 1)]
    errbacks[3]["options"].update(exchange="nowhere", routing_key="none")
    result = put(alias, add.name, 1, "x", errbacks=errbacks)
    worker = WorkerHere(alias)
    settle(worker.token, worker.run(worker.take()), alias)
    assert result.state == states.FAILURE
    counts = worked_off(alias, sent(alias))
    assert in_small_steps(counts)
    assert counts[-1] == COUNT - 1
    worker.work()
    assert {AsyncResult(task_id).state for task_id in set(IDS) - {"task-03"}} == {states.SUCCESS}
