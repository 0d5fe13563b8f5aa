"""Chains whose rest is in rows end as chains that travel whole, and leave nothing behind.

Each part has one step here, so that short chains have many. ``tests/properties/test_canvases.py`` draws the length.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError

from taskq import AsyncResult, chain, chord, group, states
from taskq.exceptions import TaskqError
from taskq.models import Binding, Exchange, Group, Message, Node, TaskRun
from taskq.records import lineage
from taskq.store.claim import claim
from taskq.store.revoke import revoke
from taskq.store.settle import settle
from taskq.store.workflow_rows import DatabaseWorkflows
from taskq.workflows import rests, sendable
from tests.support.jobs import heard
from tests.support.jobs.flows import (
    add,
    add_ignored,
    becomes,
    becomes_chain,
    becomes_group,
    boom,
    double,
    second_try,
    total,
)
from tests.support.retention import expire_workflows
from tests.support.stores import on_every_store
from tests.support.worker_here import WorkerHere

from .conftest import Run, ends, failed

FAILED = failed(ValueError("boom"))
two, plus = add.s(1, 1), add.s(1)
IGNORED = add_ignored.s(1)

CANVASES = {
    "chain": (chain(two, *(plus.clone() for _ in range(5))), (2, 3, 4, 5, 6, 7)),
    "failure": (chain(two, plus, boom.s(), plus, plus, plus), (2, 3, *(FAILED,) * 4)),
    "first_fails": (
        chain(boom.s(), plus, group(plus, plus), total.s(), plus),
        (FAILED, FAILED, [FAILED, FAILED], FAILED, FAILED),
    ),
    "retry": (chain(two, plus, second_try.s(), plus, plus), (2, 3, 3, 4, 5)),
    "replaced": (chain(two, plus, becomes_chain.s(), plus, plus), None),
    "replaced_by_a_group": (chain(two, plus, becomes_group.s(), total.s(), plus), None),
    "ignored": (chain(two, plus, IGNORED, IGNORED, plus), None),
    "chords": (chain(two, plus, group(plus, double.s()), total.s(), plus, plus), (2, 3, [4, 6], 10, 11, 12)),
    "replaced_by_a_chord_that_fails": (
        chain(two, plus, becomes.si(chord([two, boom.si()], total.s())), plus, plus, plus),
        None,
    ),
    "group_at_the_end": (chain(two, plus, plus, group(plus, double.s())), (2, 3, 4, [5, 8])),
    "in_a_header": (
        chord([chain(two, plus, plus, plus), two], total.s() | plus | plus | plus),
        ([(2, 3, 4, 5), 2], 7, 8, 9, 10),
    ),
    "failure_in_a_header": (chord([chain(two, boom.s(), plus, plus), two], total.s() | plus | plus), None),
    "in_a_group": (
        group(chain(two, plus, plus, plus), chain(two, boom.s(), plus, plus)),
        [(2, 3, 4, 5), (2, FAILED, FAILED, FAILED)],
    ),
}


@pytest.fixture(autouse=True, params=[rests.MOST_BYTES, 0], ids=["small", "large"])
def parts_of_one_step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut chains after each step. Large rests are those that the process of the step before reads."""
    monkeypatch.setattr(rests, "MOST_STEPS", 1)
    monkeypatch.setattr(rests, "MOST_BYTES", request.param)


@on_every_store
def test_chains_end_as_if_they_travelled_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: ends(run(sig)) for name, (sig, _) in CANVASES.items()}
    monkeypatch.setattr(rests, "MOST_STEPS", 1_000)
    assert found == {name: ends(run(sig)) for name, (sig, _) in CANVASES.items()}
    expected = {name: values for name, (_, values) in CANVASES.items() if values is not None}
    assert {name: found[name] for name in expected} == expected


@on_every_store
def test_errback_is_called_once_for_the_step_that_failed(run: Run) -> None:
    run(chain(two, plus, boom.s().set(task_id="b"), plus, plus).on_error(heard.old.s()))
    assert [call[1] for call in heard.calls] == ["b"]


# -- on rows


def bodies(alias: str) -> int:
    return Group.objects.using(alias).filter(body__isnull=False).count()


def line(result: Any) -> list[str]:
    """Return the states of a chain's tasks, the last first."""
    return [each.state for each in lineage(result)]


def sent(count: int = 6) -> Any:
    return chain(two, *(plus.clone() for _ in range(count - 1))).apply_async()


def test_rows_keep_no_step_that_was_sent(alias: str) -> None:
    result = sent()
    worker = WorkerHere(alias)
    for left in (4, 4, 3, 2, 1, 0):
        assert bodies(alias) == left
        worker.work(1)
    assert result.get() == 7
    failing = chain(two, boom.s(), plus, plus, plus).apply_async()
    worker.work()
    assert failing.state == states.FAILURE
    assert bodies(alias) == 3, "a retry of the failed step goes on with them"


def test_chain_that_is_revoked_half_way_ends(alias: str) -> None:
    result = sent()
    worker = WorkerHere(alias)
    worker.work(2)
    assert revoke([result.id], alias=alias) == 1
    worker.work()
    assert line(result) == [states.REVOKED] * 4 + [states.SUCCESS] * 2
    assert not Message.objects.using(alias).exists()
    assert bodies(alias) == 0


def test_second_delivery_of_a_step_sends_no_second_next_step(alias: str) -> None:
    result = sent()
    worker = WorkerHere(alias)
    worker.work(1)
    (message,) = Message.objects.using(alias).all()
    message.id, message.redelivered = None, True
    message.save(using=alias, force_insert=True)
    held = claim("taskq", 10, worker.token, alias)
    assert len(held) == 2
    for settlement in worker.run(held):
        settle(worker.token, [settlement], alias)
    assert Message.objects.using(alias).count() == 1
    worker.work()
    assert result.get() == 7


def put_foreign(alias: str, prefix: str, *names: str) -> list[str]:
    """Insert the message of a chain that another program has sent: it has all steps, and no row has any."""
    ids = [f"{prefix}{number}" for number in range(len(names))]
    chain = [
        {"task": name, "args": [1], "kwargs": {}, "options": {"task_id": task_id}, "subtask_type": None}
        for name, task_id in zip(names, ids, strict=True)
    ]
    body = json.dumps([[1, 1], {}, {"callbacks": None, "errbacks": None, "chain": chain[:0:-1], "chord": None}])
    headers = json.dumps({"task": names[0], "id": ids[0], "lang": "py", "root_id": ids[0]})
    message = Message(task_id=ids[0], queue="taskq", headers=headers, properties="{}", body=body)
    message.created_at = datetime.now(UTC)
    message.save(using=alias)
    return ids


def test_foreign_chain_travels_whole_for_one_step_only(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = WorkerHere(alias)
    put_foreign(alias, "cut", *[add.name] * 6)
    for left in (3, 3, 2, 1, 0, 0):
        worker.work(1)
        assert bodies(alias) == left


def test_foreign_chain_ends_as_if_it_travelled_whole(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, found = WorkerHere(alias), []
    for most, prefix in ((1, "parts"), (1_000, "whole")):
        monkeypatch.setattr(rests, "MOST_STEPS", most)
        good = put_foreign(alias, f"good-{prefix}", *[add.name] * 6)
        bad = put_foreign(alias, f"bad-{prefix}", add.name, add.name, boom.name, *[add.name] * 3)
        revoked = put_foreign(alias, f"revoked-{prefix}", *[add.name] * 6)
        worker.work(4)
        revoke([revoked[4]], alias=alias)
        worker.work()
        runs = dict(TaskRun.objects.using(alias).values_list("task_id", "state"))
        found.append([runs.get(task_id) for task_id in good + bad + revoked])
        assert AsyncResult(good[-1]).get(timeout=1) == 7
    assert found[0] == found[1]
    assert bodies(alias) == 3, "of the chain that has failed in parts, for a retry"


def test_foreign_chain_fails_in_parts(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatabaseWorkflows, "most_dependents", 2)
    chain = put_foreign(alias, "bad", add.name, boom.name, *[add.name] * 10)
    WorkerHere(alias).work()
    runs = dict(TaskRun.objects.using(alias).values_list("task_id", "state"))
    assert [runs.get(task_id) for task_id in chain] == [states.SUCCESS, *[states.FAILURE] * 11]


def test_step_for_an_exchange_goes_to_each_queue_once(alias: str) -> None:
    Exchange.objects.using(alias).create(name="both", type="fanout")
    for queue in ("one", "other"):
        Binding.objects.using(alias).create(exchange="both", queue=queue, routing_key="")
    chain(two, plus.clone().set(exchange="both"), plus, plus).apply_async()
    WorkerHere(alias).work(1)
    assert sorted(Message.objects.using(alias).values_list("queue", flat=True)) == ["one", "other"]


@pytest.mark.parametrize("broken", [None, "", "[", "[{}]"], ids=["gone", "empty", "cut", "malformed"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_step_whose_rest_is_gone_or_malformed_fails_with_all_behind_it(alias: str, broken: str | None) -> None:
    result = sent()
    Group.objects.using(alias).filter(body__isnull=False).update(body=broken)
    WorkerHere(alias).work()
    # The second step has the reference: it fails, as any task whose follow-ups can't be sent.
    assert line(result) == [states.FAILURE] * 5 + [states.SUCCESS]
    failing = chain(boom.s(), *(plus.clone() for _ in range(5))).apply_async()
    Group.objects.using(alias).filter(body__isnull=False).update(body=broken)
    WorkerHere(alias).work()
    assert line(failing) == [states.FAILURE] * 6


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_altered_rest_is_not_run(alias: str, settings: Any) -> None:
    settings.TASKQ_SIGNING = True
    result = sent()
    rows = list(Group.objects.using(alias).filter(body__isnull=False).order_by("id"))
    # Each of them is authentic, in another row.
    for row, body in zip(rows, [row.body for row in reversed(rows)], strict=True):
        Group.objects.using(alias).filter(id=row.id).update(body=body)
    WorkerHere(alias).work()
    assert line(result) == [states.FAILURE] * 5 + [states.SUCCESS]
    again = sent()
    WorkerHere(alias).work()
    assert again.get() == 7


def test_children_of_a_step_are_noted(alias: str) -> None:
    result = sent(3)
    WorkerHere(alias).work()
    middle = result.parent
    assert [child.id for child in middle.children] == [result.id]


def test_rests_stay_as_long_as_their_workflow(alias: str) -> None:
    result = sent()
    rows = Group.objects.using(alias).filter(body__isnull=False)
    age = {"created_at": "2020-01-01T00:00:00Z"}
    for model in (Group, Node):
        model._base_manager.using(alias).update(**age)
    expire_workflows(timedelta(days=1), alias=alias)
    assert rows.count() == 4
    Message.objects.using(alias).all().delete()
    TaskRun.objects.using(alias).all().delete()
    Node.objects.using(alias).filter(task_id=result.id).update(**age)
    for model in (Group, Node):
        model._base_manager.using(alias).update(**age)
    expire_workflows(timedelta(days=1), alias=alias)
    assert not Group.objects.using(alias).exists()


def test_steps_have_one_root_and_the_step_before_as_their_parent(alias: str) -> None:
    result = sent()
    root, *later = [each.id for each in lineage(result)][::-1]
    WorkerHere(alias).work()
    runs = TaskRun.objects.using(alias).exclude(task_id=root)
    found = {run.task_id: (run.root_id, run.parent_id) for run in runs}
    assert found == {task_id: (root, before) for before, task_id in zip([root, *later], later, strict=False)}


def test_chain_whose_rest_is_gone_fails_to_its_end(alias: str) -> None:
    result = sent()
    Group.objects.using(alias).update(body=None)
    WorkerHere(alias).work()
    assert line(result)[:-1] == [states.FAILURE] * 5
    with pytest.raises(TaskqError, match="was cleared or altered"):
        AsyncResult([*lineage(result)][4].id).get(timeout=1)


def test_database_that_is_away_fails_no_chain(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rests, "MOST_BYTES", 1_000)  # the transaction that settles reads the next step
    result = sent()
    worker = WorkerHere(alias)
    worker.work(1)
    ends = worker.run(worker.take())
    with monkeypatch.context() as away:
        away.setattr(sendable, "next_steps", Mock(side_effect=OperationalError("away")))
        with pytest.raises(OperationalError):
            settle(worker.token, ends, alias)
    settle(worker.token, ends, alias)
    worker.work()
    assert result.get() == 7
