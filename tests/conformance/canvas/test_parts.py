"""Follow-ups that are too many for one transaction are worked off in parts, each a transaction, and end as all others.

The parts are small here, so that few tasks are many.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db.models import QuerySet

from taskq import AsyncResult, chain, group, states
from taskq.exceptions import CannotRetry
from taskq.models import Group, Message, TaskRun
from taskq.store import parts as store
from taskq.store.revoke import revoke
from taskq.store.settle import settle
from taskq.store.workflow_rows import DatabaseWorkflows
from taskq.workflows import parts, rests
from tests.support.audit import audit, times_final
from tests.support.jobs.flows import add, total
from tests.support.worker_here import WorkerHere

from .conftest import retry_one

COUNT = 12


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rests, "MOST_STEPS", 1)
    monkeypatch.setattr(DatabaseWorkflows, "most_dependents", 2)
    for name, most in {"MOST_DEPENDENTS": 3, "MOST_MESSAGES": 3, "_DEPENDENTS": 2, "_NODES": 2, "_MESSAGES": 2}.items():
        monkeypatch.setattr(parts, name, most)


def put(alias: str, embed: dict[str, Any], *args: Any) -> AsyncResult[Any]:
    """Insert a message as another program sends it: no row has the tasks in it."""
    body = json.dumps([args, {}, embed])
    headers = json.dumps({"task": add.name, "id": "first", "root_id": "first"})
    message = Message(task_id="first", queue="taskq", headers=headers, properties="{}", body=body)
    message.created_at = datetime.now(UTC)
    message.save(using=alias)
    return AsyncResult("first")


def signatures(*args: Any) -> list[dict[str, Any]]:
    return [
        {"task": add.name, "args": args, "kwargs": {}, "options": {"task_id": f"task-{n:02}"}, "subtask_type": None}
        for n in range(COUNT)
    ]


def worked_off(alias: str, rows: QuerySet[Any]) -> list[int]:
    """Work off what is pending; return how many of ``rows`` there were before each part and at the end."""
    found = [rows.count()]
    while pending := store.pending_rows(alias):
        store.work_off(pending[0], alias)
        found.append(rows.count())
    # The rests of a chain are kept: its failed step may be retried.
    kept = Group.objects.using(alias).filter(body__isnull=False).exclude(group_id__startswith="rest:")
    assert not kept.exists()
    return found


def in_small_steps(counts: list[int]) -> bool:
    return all(later - earlier <= 3 for earlier, later in zip([0, *counts], counts, strict=False))


def failures(alias: str) -> QuerySet[Any]:
    return TaskRun.objects.using(alias).filter(state=states.FAILURE, task_id__startswith="task-")


@pytest.mark.parametrize(
    "embed",
    [{"chain": signatures()[::-1]}, {"callbacks": signatures()}],
    ids=["chain", "callbacks"],
)
def test_many_dependents_fail_once_and_few_at_a_time(alias: str, embed: dict[str, Any]) -> None:
    with audit(alias):
        put(alias, embed, "x", 1)
        worker = WorkerHere(alias)
        settle(worker.token, worker.run(worker.take()), alias)
        counts = worked_off(alias, failures(alias))
        ends = times_final(alias)
    assert in_small_steps(counts)
    assert counts[-1] == COUNT
    assert ends == {"first": 1} | {f"task-{n:02}": 1 for n in range(COUNT)}
    with pytest.raises(TypeError):
        AsyncResult("task-11").get(timeout=1)


def test_dependents_that_only_the_nodes_tell_fail_few_at_a_time(alias: str) -> None:
    callbacks = [add.s(1).set(task_id=f"task-{n:02}") for n in range(COUNT)]
    (add.s(1, 1) | group(callbacks)).apply_async()
    Message.objects.using(alias).update(body="{")
    worker = WorkerHere(alias)
    settle(worker.token, worker.run(worker.take()), alias)
    counts = worked_off(alias, failures(alias))
    assert in_small_steps(counts)
    assert counts[-1] == COUNT


def test_rest_of_a_chain_fails_few_tasks_at_a_time(alias: str) -> None:
    steps = signatures(1)
    steps[1]["args"] = ["x"]
    put(alias, {"chain": steps[::-1]}, 1, 1)
    worker = WorkerHere(alias)
    for _ in range(3):
        settle(worker.token, worker.run(worker.take()), alias)
    counts = worked_off(alias, failures(alias))
    assert in_small_steps(counts)
    assert counts[-1] == COUNT - 1


def test_failing_chain_fails_the_chord_around_it_in_the_end(alias: str) -> None:
    long = chain(add.s(1, "x"), *(add.s(1) for _ in range(COUNT)))
    result = (group(long, add.s(1, 1)) | total.s()).apply_async()
    WorkerHere(alias).work()
    assert result.state == states.FAILURE
    assert not Group.objects.using(alias).filter(remaining__gt=0).exists()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_chain_that_has_one_id_twice_ends_though_its_rest_refers_to_itself(alias: str) -> None:
    steps = signatures(1)
    steps[0]["args"] = ["x"]
    steps[8]["options"]["task_id"] = "task-05"
    put(alias, {"chain": steps[::-1]}, 1, 1)
    WorkerHere(alias).work()
    assert failures(alias).count() >= 6
    assert store.pending_rows(alias) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_chain_is_not_retried_while_it_is_still_failing(alias: str) -> None:
    result = chain(add.s(1, "x").set(task_id="begin"), *(add.s(1) for _ in range(COUNT))).apply_async()
    worker = WorkerHere(alias)
    settle(worker.token, worker.run(worker.take()), alias)
    with pytest.raises(CannotRetry, match="still failing"):
        retry_one("begin", alias=alias)
    worker.work()
    assert result.state == states.FAILURE
    assert retry_one("begin", alias=alias, args=[1, 1]).task_id == "begin"
    worker.work()
    assert AsyncResult(result.id).get(timeout=1) == 2 + COUNT


def sent(alias: str) -> QuerySet[Any]:
    return Message.objects.using(alias).filter(task_id__startswith="task-")


def test_many_callbacks_are_sent_once_and_few_at_a_time(alias: str) -> None:
    put(alias, {"callbacks": signatures(1)}, 1, 1)
    worker = WorkerHere(alias)
    (end,) = worker.run(worker.take())
    assert not end.follow_ups.envelopes
    settle(worker.token, [end], alias)
    counts = worked_off(alias, sent(alias))
    assert in_small_steps(counts)
    assert counts[-1] == COUNT
    worker.work()
    assert {AsyncResult(f"task-{n:02}").get(timeout=1) for n in range(COUNT)} == {3}


def test_message_that_is_never_settled_sends_nothing(alias: str) -> None:
    put(alias, {"callbacks": signatures(1)}, 1, 1)
    worker = WorkerHere(alias)
    worker.run(worker.take())
    worker.die()
    assert store.pending_rows(alias) == []
    worker.work()
    assert TaskRun.objects.using(alias).filter(task_id__startswith="task-", state=states.SUCCESS).count() == COUNT


def test_large_group_inside_a_chain_runs_as_a_small_one(alias: str) -> None:
    result = chain(add.s(1, 1), group(add.s(n) for n in range(COUNT)), total.s(), add.s(1)).apply_async()
    with audit(alias):
        WorkerHere(alias).work()
        ends = times_final(alias)
    assert result.get(timeout=1) == 2 * COUNT + sum(range(COUNT)) + 1
    assert set(ends.values()) == {1}


def test_part_that_is_worked_off_twice_does_nothing_the_second_time(alias: str) -> None:
    put(alias, {"callbacks": signatures(1)}, 1, 1)
    worker = WorkerHere(alias)
    settle(worker.token, worker.run(worker.take()), alias)
    (row,) = store.pending_rows(alias)
    store.work_off(row, alias)
    assert sent(alias).count() == 2
    store.work_off(row, alias)
    assert sent(alias).count() == 2


def test_message_that_cannot_be_written_fails_with_what_follows_and_the_others_are_sent(
    alias: str, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    callbacks = signatures(1)
    callbacks[5]["options"]["headers"] = {"note": "x" * 3_000}
    callbacks[5]["options"]["link"] = [add.s(1).set(task_id="after")]
    put(alias, {"callbacks": callbacks}, 1, 1)
    worker = WorkerHere(alias)
    settings.TASKQ_MAX_HEADERS_SIZE = 2_000
    settle(worker.token, worker.run(worker.take()), alias)
    worked_off(alias, sent(alias))
    assert len([record for record in caplog.records if "task-05" in record.getMessage()]) == 1
    worker.work()
    ends = {f"task-{n:02}": AsyncResult(f"task-{n:02}").state for n in range(COUNT)}
    assert ends == dict.fromkeys(ends, states.SUCCESS) | {"task-05": states.FAILURE}
    assert AsyncResult("after").state == states.FAILURE
    with pytest.raises(Exception, match="TASKQ_MAX_HEADERS_SIZE"):
        AsyncResult("task-05").get(timeout=1)


def test_chord_whose_member_cannot_be_written_fails(alias: str, settings: Any) -> None:
    members = [add.s(n) for n in range(COUNT)]
    members[3].set(headers={"note": "x" * 3_000})
    first = add.s(1, 1)
    first.link(group(members) | total.s().set(task_id="total"))
    first.apply_async()
    settings.TASKQ_MAX_HEADERS_SIZE = 2_000
    WorkerHere(alias).work()
    assert AsyncResult("total").state == states.FAILURE
    assert TaskRun.objects.using(alias).filter(state=states.SUCCESS).count() == COUNT


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_altered_parts_send_nothing(alias: str, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.TASKQ_SIGNING = True
    first = add.s(1, 1)
    for n in range(COUNT):
        first.link(add.s(n))
    result = first.apply_async()
    worker = WorkerHere(alias)
    settle(worker.token, worker.run(worker.take()), alias)
    parts = Group.objects.using(alias).filter(group_id__startswith="part:").order_by("group_id")
    # Each of them is authentic, in another row.
    bodies = [part.body for part in parts]
    for part, body in zip(parts, reversed(bodies), strict=True):
        Group.objects.using(alias).filter(id=part.id).update(body=body)
    worker.work()
    assert result.state == states.SUCCESS
    assert TaskRun.objects.using(alias).count() == 1
    assert store.pending_rows(alias) == []
    assert "A part of follow-ups can't be read" in caplog.text


def test_parts_of_a_task_that_is_revoked_with_all_that_follows_are_worked_off(alias: str) -> None:
    result = (add.s(1, 1) | group(add.s(number) for number in range(COUNT))).apply_async()
    revoke([result.parent.id], alias=alias)
    runs = TaskRun.objects.using(alias)
    worked_off(alias, runs)
    assert list(runs.values_list("state", flat=True)) == [states.REVOKED] * (COUNT + 1)


def test_pending_rows_are_those_of_the_version_before_and_of_the_next_one() -> None:
    pending = parts.Pending("part:1", root_id="root")
    row = json.loads(pending.row.body or "")
    assert row == {"key": "part:1", "error": None, "root_id": "root", "task_id": "", "may_run_again": False}
    assert parts.Pending.read(json.dumps(row | {"later": 1})) == pending
