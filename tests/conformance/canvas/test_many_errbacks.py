"""A message that names many errbacks or dependents of a task that never runs: a main process reads few at once."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import chord
from taskq.canvas.signature import Signature
from taskq.exceptions import NotRegistered
from taskq.models import Group, Message, TaskRun
from taskq.store.workflow_rows import DatabaseWorkflows
from taskq.workflows import errbacks, parts, plan
from tests.support.jobs import heard
from tests.support.jobs.flows import boom, same
from tests.support.stores import on_every_store
from tests.support.worker_here import WorkerHere

from .conftest import Run, ends, failed

#: More than are planned at once.
MANY = 100


def with_errbacks(sig: Signature[Any]) -> Any:
    for number in range(MANY):
        sig = sig.on_error(heard.noted.s(str(number)))
    return sig


def noted(task_id: str) -> list[Any]:
    return sorted(("noted", task_id, str(number)) for number in range(MANY))


@on_every_store
def test_many_errbacks_of_a_task_that_never_ran_are_called_once_each(run: Run) -> None:
    unknown = with_errbacks(Signature("no.such.task").set(task_id="a")).on_error(heard.new.s())
    assert ends(run(unknown)) == failed(NotRegistered("no.such.task"))
    *old, new = sorted(heard.calls, key=lambda call: (call[0] == "new", call))
    assert old == noted("a")
    assert new == ("new", "a", repr(NotRegistered("no.such.task")), False)


@on_every_store
def test_many_errbacks_of_a_body_are_called_once_each(run: Run) -> None:
    run(chord([boom.s()], with_errbacks(same.s().set(task_id="body"))))
    assert sorted(heard.calls) == noted("body")


def test_one_message_takes_the_place_of_many_errbacks(alias: str) -> None:
    with_errbacks(Signature("no.such.task")).set(queue="elsewhere").delay()
    worker = WorkerHere(alias)
    Message.objects.using(alias).update(queue="taskq")
    worker.work(1)
    assert list(Message.objects.using(alias).values_list("name", flat=True)) == [errbacks.MANY]


@pytest.mark.parametrize("count", [1, 2])
def test_errbacks_with_the_arguments_weigh_together(alias: str, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(errbacks, "_FEW_ARGUMENTS", 10_000)
    large = Signature("no.such.task", args=("x" * 6_000,))
    for errback in (heard.new.s(), heard.noted_new.s("x"))[:count]:
        large = large.on_error(errback)
    large.delay()
    WorkerHere(alias).work(1)
    sent = Message.objects.using(alias).values_list("name", flat=True)
    assert list(sent) == [errbacks.TASK if count == 1 else errbacks.MANY]


def test_many_errbacks_of_a_body_go_where_its_members_went(alias: str, settings: Any) -> None:
    settings.TASKQ_DEFAULT_QUEUE = "unread"
    chord([boom.s().set(queue="taskq")], with_errbacks(same.s())).apply_async()
    WorkerHere(alias).work(1)
    assert Message.objects.using(alias).get(name=errbacks.MANY).queue == "taskq"


def test_dependents_of_a_task_that_never_ran_fail_in_parts(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MOST_DEPENDENTS", 10)
    monkeypatch.setattr(parts, "_DEPENDENTS", 10)
    monkeypatch.setattr(DatabaseWorkflows, "most_dependents", 10)
    unknown = Signature("no.such.task")
    for number in range(30):
        unknown.link(same.si(number).set(task_id=f"after-{number}"))
    unknown.delay()
    worker = WorkerHere(alias)
    worker.work(1)
    failed_ones = TaskRun.objects.using(alias).filter(task_id__startswith="after-", state="FAILURE")
    assert failed_ones.count() == 10
    worker.work()
    assert failed_ones.count() == 30
    assert not Group.objects.using(alias).filter(body__isnull=False).exists()


def test_chord_is_an_errback_of_a_task_whose_dependents_fail_in_parts(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MOST_DEPENDENTS", 1)
    monkeypatch.setattr(parts, "_DEPENDENTS", 1)
    errback = chord([same.si(1), same.si(2)], same.s())
    result = errback.freeze()
    unknown = Signature("no.such.task").on_error(errback)
    for number in range(3):
        unknown.link(same.si(number).set(task_id=f"after-{number}"))
    unknown.delay()
    WorkerHere(alias).work()
    assert result.get(timeout=1) == [[[1], [2]]]
    assert TaskRun.objects.using(alias).filter(task_id__startswith="after-", state="FAILURE").count() == 3


@pytest.mark.parametrize("follower", ["callbacks", "errbacks"])
def test_the_copies_of_a_value_for_many_followers_have_a_bound(
    alias: str, settings: Any, monkeypatch: pytest.MonkeyPatch, follower: str
) -> None:
    monkeypatch.setattr(plan, "_ALWAYS", 0)
    settings.TASKQ_MAX_MESSAGE_SIZE = 10_000
    text = "x" * 6_000
    called: Any = [{"task": heard.new.name, "args": [], "kwargs": {}, "options": {"queue": "elsewhere"}}] * 30
    task = same if follower == "callbacks" else boom
    options: Any = {"link" if follower == "callbacks" else "link_error": called}
    result = task.s(text).apply_async(**options)
    worker = WorkerHere(alias)
    worker.work(1)
    worker.work_off()
    size = sum(map(len, Message.objects.using(alias).values_list("body", flat=True)))
    assert size < 17 * 10_000
    assert result.state == "FAILURE"
    if follower == "callbacks":
        assert "TASKQ_MAX_MESSAGE_SIZE" in str(result.result)
        assert size == 0
    else:
        assert size > 15 * 10_000
