"""One message names a large canvas: its tasks are sent, or fail, in parts, but for the body of a chord.

The parts are small here, so that few tasks are many.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError

from taskq import AsyncResult, chain, states
from taskq.models import Group, Message, Node, TaskRun
from taskq.store import parts as store
from taskq.store.settle import settle
from tests.support.jobs.flows import add, becomes
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
    assert [node.task_id for node in end.follow_ups.nodes] == ["first"]
    assert not end.follow_ups.envelopes
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


def test_long_chain_in_the_place_of_a_task_runs_when_all_its_nodes_are_there(alias: str) -> None:
    result = becomes.s(chain(add.s(1, 1), *(add.s(1) for _ in range(COUNT)))).apply_async()
    worker = WorkerHere(alias)
    settle(worker.token, worker.run(worker.take()), alias)
    messages = Message.objects.using(alias)
    while (pending := store.pending_rows(alias)) and not messages.exists():
        store.work_off(pending[0], alias)
    assert messages.count() == 1
    assert Node.objects.using(alias).count() == COUNT + 1
    worker.work()
    assert result.get(timeout=1) == 2 + COUNT


def test_task_that_is_revoked_while_it_is_replaced_by_many_sends_none(alias: str) -> None:
    result = put(alias, "celery.group", signatures(1, 1))
    worker = WorkerHere(alias)
    ends = worker.run(worker.take())
    result.revoke()
    settle(worker.token, ends, alias)
    worker.work()
    assert result.state == states.REVOKED
    assert not TaskRun.objects.using(alias).filter(task_id__in=IDS).exists()


@pytest.mark.parametrize(
    ("name", "args", "embed"),
    [
        ("celery.group", [signatures(1, 1)], {}),
        (add.name, [1, 1], {"callbacks": signatures(1)}),
        (add.name, [1, "x"], {"errbacks": [{**sig, "immutable": True} for sig in signatures(1, 1)]}),
    ],
    ids=["group", "callbacks", "errbacks"],
)
def test_database_that_is_away_for_a_moment_does_not_change_what_is_sent(
    alias: str, monkeypatch: pytest.MonkeyPatch, name: str, args: list[Any], embed: dict[str, Any]
) -> None:
    result = put(alias, name, *args, **embed)
    worker = WorkerHere(alias)
    with monkeypatch.context() as away:
        for reading in ("resolve", "sendable_errbacks", "_refuse_sent"):
            away.setattr(f"taskq.execution.parts.{reading}", Mock(side_effect=OperationalError("away")))
        ends = worker.run(worker.take())
    settle(worker.token, ends, alias)
    worker.work()
    assert {AsyncResult(task_id).state for task_id in IDS} == {states.SUCCESS}
    assert result.state == (states.FAILURE if "errbacks" in embed else states.SUCCESS)


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
