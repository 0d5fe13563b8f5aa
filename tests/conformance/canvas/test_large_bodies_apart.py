"""Large bodies of chords: where their messages go, what a retry and a second message find, and what is no large body.

Every body is large here, unless a test says otherwise. See ``test_large_bodies``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskq import AsyncResult, chain, chord, group, states
from taskq.calls.registry import tasks
from taskq.exceptions import CannotRetry, ChordError
from taskq.models import Group, KeptMessage, Message, Node, ScheduledMessage, TaskRun
from taskq.store import topology
from taskq.store.requeue import postpone
from taskq.store.settle import settle
from taskq.worker.loop import settlements
from taskq.worker.loop.request import Limits, read
from taskq.workflows import large_bodies
from tests.support.jobs.flows import add, becomes, fragile, mended, same, total
from tests.support.retention import expire, expire_workflows
from tests.support.stores import on_every_store
from tests.support.worker_here import WorkerHere

from .conftest import Run, last, retry_one
from .test_large_bodies import ended_header, large, sent, waits_for_nothing

__all__ = ["large"]
BOTH: Any = {"exchange": "both", "routing_key": ""}


def queues_of(alias: str, task_id: str) -> list[str]:
    return sorted(Message.objects.using(alias).filter(task_id=task_id).values_list("queue", flat=True))


def bind_two(alias: str) -> None:
    """Have the exchange ``both`` lead to two queues."""
    topology.declare_exchange("both", "fanout", durable=True, auto_delete=False, arguments=None, alias=alias)
    for queue in ("one", "two"):
        topology.bind(queue, "both", "", alias)


@pytest.mark.parametrize("most", [1_000, 0], ids=["whole", "in_parts"])
@pytest.mark.parametrize("fails", [False, True], ids=["body", "errback"])
def test_message_to_an_exchange_is_sent_to_each_queue_once(
    alias: str, monkeypatch: pytest.MonkeyPatch, most: int, fails: bool
) -> None:
    bind_two(alias)
    monkeypatch.setattr("taskq.workflows.parts.MOST_MESSAGES", most)
    body = total.s() if fails else total.s().set(task_id="followed", **BOTH)
    body = body.on_error(total.si([7]).set(task_id="followed", **BOTH)) if fails else body
    header = [add.s(1, "x" if fails else 1), add.s(2, 2)]
    _, worker = ended_header(alias, chord(header, body).delay(), 1 if fails else 2)
    worker.work()
    assert queues_of(alias, "followed") == ["one", "two"]


def test_errbacks_without_a_queue_do_not_stop_the_others(alias: str) -> None:
    nowhere: Any = {"exchange": "nowhere", "routing_key": "none"}
    body = total.s().on_error(total.si([7]).set(**nowhere)).on_error(total.si([8]).set(task_id="errback"))
    result, worker = ended_header(alias, chord([add.s(1, "x"), add.s(2, 2)], body).delay(), 1)
    worker.work()
    assert isinstance(result.get(timeout=1, propagate=False), ChordError)
    assert AsyncResult("errback").get(timeout=1) == 8
    assert waits_for_nothing(alias)


@pytest.mark.parametrize("fails", [False, True])
def test_task_goes_to_the_queue_of_a_member_and_of_no_other_task(alias: str, fails: bool) -> None:
    chord([add.s(1, "x" if fails else 1).set(task_id="a", queue="first")], total.s()).delay()
    (add.s(1, 1).set(task_id="z", queue="second") | add.s(1)).delay()
    worker = WorkerHere(alias)
    Message.objects.using(alias).update(queue="taskq")
    ends = [replace(end, queue=queue) for queue in ("first", "second") for end in worker.run(worker.take())]
    assert [end.task_id for end in ends] == ["a", "z"]
    settle(worker.token, ends, alias)
    assert sent(alias).get().queue == "first"


def test_task_that_fails_an_outer_chord_goes_to_the_queue_of_the_inner_member(alias: str) -> None:
    inner = chord([add.s(1, "x")], total.s())
    chord([inner, add.s(1, 1).set(queue="elsewhere")], total.s()).delay()
    worker = WorkerHere(alias)
    worker.work(2)
    assert [message.queue for message in sent(alias)] == ["taskq"]


def test_failed_body_with_sensitive_arguments_is_cleared_where_no_queue_is_known(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "guarded", {total.name})
    monkeypatch.setattr("taskq.store.workflow_rows.DatabaseWorkflows.queue_of", lambda *_: "")
    result = chord([add.s(1, "x")], total.s()).delay()
    worker = WorkerHere(alias)
    settle(worker.token, [replace(end, queue="") for end in worker.run(worker.take())], alias)
    assert isinstance(result.get(timeout=1, propagate=False), ChordError)
    assert Group.objects.using(alias).get().body is None


def test_body_is_kept_for_a_retry_where_no_queue_is_known(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mended.clear()
    monkeypatch.setattr("taskq.store.workflow_rows.DatabaseWorkflows.queue_of", lambda *_: "")
    result = chord([fragile.s(2, "a").set(task_id="a")], same.s()).delay()
    worker = WorkerHere(alias)
    settle(worker.token, [replace(end, queue="") for end in worker.run(worker.take())], alias)
    assert AsyncResult(result.id).state == states.FAILURE
    mended.add("a")
    retry_one("a", alias=alias)
    worker.work()
    mended.clear()
    assert AsyncResult(result.id).get(timeout=1) == [[2]]


def test_body_is_sent_by_the_default_queue_where_no_other_is_known(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.store.workflow_rows.DatabaseWorkflows.queue_of", lambda *_: "")
    result = chord([add.s(1, 1)], total.s()).delay()
    worker = WorkerHere(alias)
    settle(worker.token, [replace(end, queue="") for end in worker.run(worker.take())], alias)
    assert sent(alias).get().queue == "taskq"
    worker.work()
    assert result.get(timeout=1) == 2


def test_rest_of_the_chain_behind_a_body_is_kept_for_a_retry(alias: str) -> None:
    """The body of a replacement carries the chain of the replaced task."""
    mended.clear()
    header = [fragile.s(2, "a").set(task_id="a"), add.s(1, 1)]
    result = chain(becomes.s(chord(header, total.s())), *(add.s(1) for _ in range(50))).delay()
    worker = WorkerHere(alias)
    worker.work()
    assert AsyncResult(result.id).state == states.FAILURE
    mended.add("a")
    retry_one("a", alias=alias)
    worker.work()
    mended.clear()
    assert AsyncResult(result.id).get(timeout=1) == 54


def test_member_is_not_retried_while_the_task_for_the_body_is_in_the_schedule(alias: str) -> None:
    mended.clear()
    header = [fragile.s(2, "a").set(task_id="a"), add.s(1, 1)]
    _, worker = ended_header(alias, chord(header, same.s()).delay(), 1)
    Message.objects.using(alias).exclude(name=large_bodies.TASK).update(queue="later")
    assert postpone(worker.token, worker.take()[0], 60, alias)
    assert ScheduledMessage.objects.using(alias).get().name == large_bodies.TASK
    with pytest.raises(CannotRetry, match="still failing"):
        retry_one("a", alias=alias)


def test_retention_keeps_what_a_body_needs_whose_task_is_in_the_schedule(alias: str) -> None:
    _, worker = ended_header(alias)
    assert postpone(worker.token, worker.take()[0], 60, alias)
    for age in (timedelta(0), timedelta(0)):
        expire(states.SUCCESS, age, alias=alias)
        expire_workflows(age, alias=alias)
    assert Node.objects.using(alias).count() == 3


def test_failure_that_was_planned_before_a_retry_fails_no_body(alias: str) -> None:
    result, worker = ended_header(alias, chord([add.s(1, "x"), add.s(1, 1)], total.s()).delay(), 1)
    Message.objects.using(alias).exclude(name=large_bodies.TASK).update(queue="later")
    ends = worker.run(worker.take())
    assert [end.name for end in ends] == [large_bodies.TASK]
    # A retry has had the group wait, and the member has succeeded.
    Group.objects.using(alias).update(failed=False, remaining=0)
    settle(worker.token, ends, alias)
    assert result.state == states.PENDING
    assert Group.objects.using(alias).get().body is not None


@pytest.mark.parametrize("given_up", [False, True])
def test_lost_task_leaves_no_row_though_errors_are_kept(alias: str, settings: Any, given_up: bool) -> None:
    settings.TASKQ_STORE_ERRORS_EVEN_IF_IGNORED = True
    result, worker = ended_header(alias)
    group_id = Group.objects.using(alias).get().group_id
    (claimed,) = worker.take()
    if given_up:
        end = settlements.given_up(claimed, large_bodies.TASK, "w@h")
    else:
        end = settlements.lost(read(claimed, Limits()), "gone", "w@h")
    settle(worker.token, [end], alias)
    assert result.state == states.FAILURE
    for model in (TaskRun, KeptMessage):
        assert not model._base_manager.using(alias).filter(task_id=group_id).exists()


def test_many_small_bodies_together_are_large(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_bodies, "MOST_BYTES", 2_000)
    monkeypatch.setattr("taskq.store.workflow_rows._MOST_SMALL", 2)
    results = [chord([add.s(1, n)], same.s("x" * 1_500)).delay() for n in range(5)]
    worker = WorkerHere(alias)
    ends = [end for _ in results for end in worker.run(worker.take())]
    settle(worker.token, ends, alias)
    assert sent(alias).count() == 3
    worker.work()
    assert [result.get(timeout=1)[0] for result in results] == [[1], [2], [3], [4], [5]]


@on_every_store
def test_group_of_many_members_has_its_body_on_every_store(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_bodies, "MOST_MEMBERS", 1)
    assert last(run(chord([add.s(1, 1), add.s(2, 2)], group(same.s(), same.s())))) == [[[2, 4]], [[2, 4]]]
