"""The large body of a chord is sent, or fails, by a task of its own, and no end of that task leaves it waiting.

Every body is large here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError

from taskq import AsyncResult, chord, control, group, states
from taskq.engines import for_alias
from taskq.exceptions import CannotRetry, ChordError, SignatureMismatch, WorkerLostError
from taskq.models import Group, Message, Node, TaskRun
from taskq.store import parts, retention
from taskq.store.consuming import purge
from taskq.store.enqueue import enqueue
from taskq.store.settle import settle
from taskq.worker.loop import settlements
from taskq.worker.loop.request import Limits, read
from taskq.workflows import large_bodies
from taskq.workflows.port import Body
from tests.support.audit import audit, times_final
from tests.support.jobs.flows import add, add_ignored, becomes, fragile, mended, same, total
from tests.support.retention import expire, expire_workflows
from tests.support.worker_here import WorkerHere

from .conftest import retry_one


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_bodies, "MOST_BYTES", -1)


def sent(alias: str) -> Any:
    """Return the messages of the task for large bodies."""
    return Message.objects.using(alias).filter(name=large_bodies.TASK)


def ended_header(alias: str, result: Any = None, members: int = 2) -> tuple[Any, WorkerHere]:
    """Run the members of a chord; return its result and the worker. The task for its body waits."""
    result = result or chord([add.s(1, 1), add.s(2, 2)], total.s().set(task_id="body")).delay()
    worker = WorkerHere(alias)
    worker.work(members)
    assert sent(alias).count() == 1
    return result, worker


def waits_for_nothing(alias: str) -> bool:
    runs = TaskRun.objects.using(alias)
    unfinished = runs.exclude(state__in=states.READY_STATES) | runs.filter(task_id="")
    return not (Message.objects.using(alias).exists() or unfinished.exists())


def test_body_gets_the_values_and_the_task_for_it_leaves_nothing(alias: str) -> None:
    result, worker = ended_header(alias)
    (message,) = sent(alias)
    assert message.task_id == Group.objects.using(alias).get().group_id
    assert len(message.body) < 500
    assert Group.objects.using(alias).get().body
    worker.work()
    assert result.get(timeout=1) == 6
    assert Group.objects.using(alias).get().body is None
    assert not TaskRun.objects.using(alias).filter(task_id=message.task_id).exists()


@pytest.mark.parametrize("second", [2, "x"])
def test_main_process_opens_no_large_body(alias: str, monkeypatch: pytest.MonkeyPatch, second: Any) -> None:
    chord([add.s(1, 1), add.s(2, second)], total.s()).delay()
    worker = WorkerHere(alias)
    while held := worker.take():
        ends = worker.run(held)
        with monkeypatch.context() as main:
            for reading in ("of_body", "of_failed_body"):
                main.setattr(f"taskq.workflows.followups.{reading}", Mock(side_effect=AssertionError))
            settle(worker.token, ends, alias)
    assert waits_for_nothing(alias)
    assert TaskRun.objects.using(alias).count() == 3


@pytest.mark.parametrize("most", ["MOST_BYTES", "MOST_MEMBERS"])
def test_values_or_members_that_are_too_many_make_a_body_large(
    alias: str, monkeypatch: pytest.MonkeyPatch, most: str
) -> None:
    monkeypatch.setattr(large_bodies, "MOST_BYTES", 2_000)
    monkeypatch.setattr(large_bodies, most, 1 if most == "MOST_MEMBERS" else 2_000)
    value = "x" * (1 if most == "MOST_MEMBERS" else 1_500)
    result, worker = ended_header(alias, chord([same.s(value), same.s(value)], same.s()).delay())
    worker.work()
    assert result.get(timeout=1) == [[[value], [value]]]


def test_body_of_ignored_members_drops_their_values(alias: str) -> None:
    result, worker = ended_header(alias, chord([add_ignored.s(1, 1), add_ignored.s(2, 2)], total.s()).delay())
    worker.work()
    assert result.get(timeout=1) == 6
    assert TaskRun.objects.using(alias).count() == 1
    assert set(Node.objects.using(alias).exclude(task_id=result.id).values_list("state", flat=True)) == {"SUCCESS"}


def test_the_first_member_that_fails_sends_the_only_task_for_the_body(alias: str) -> None:
    result = chord([add.s(1, "x"), add.s(2, "x"), add.s(1, 1)], total.s()).delay()
    worker = WorkerHere(alias)
    for held in [worker.take() for _ in range(3)]:
        settle(worker.token, worker.run(held), alias)
        assert sent(alias).count() == 1
    worker.work()
    assert result.state == states.FAILURE


def test_many_values_that_were_kept_for_a_body_are_deleted_in_parts(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(for_alias(alias)), "chunk", 2)
    header = [add_ignored.s(number, 1) for number in range(7)]
    result, worker = ended_header(alias, chord(header, total.s()).delay(), members=7)
    runs, counts = TaskRun.objects.using(alias), list[int]()
    settle(worker.token, worker.run(worker.take()), alias)
    while pending := parts.pending_rows(alias):
        counts.append(runs.count())
        # Under another name than rows of work that workers of an older version can do.
        assert pending[0].startswith("values:")
        parts.work_off(pending[0], alias)
    assert counts == [8, 6, 4, 2]  # the last one is the body's
    worker.work()
    assert result.get(timeout=1) == 28
    assert waits_for_nothing(alias)


def test_body_whose_member_fails_fails_with_its_errbacks(alias: str) -> None:
    errback = total.si([7]).set(task_id="errback")
    with audit(alias):
        result = chord([add.s(1, "x"), add.s(1, 1)], (same.s() | total.s()).on_error(errback)).delay()
        WorkerHere(alias).work()
        ends = times_final(alias)
    assert isinstance(result.get(timeout=1, propagate=False), ChordError)
    assert AsyncResult("errback").get(timeout=1) == 7
    assert set(ends.values()) == {1}
    assert waits_for_nothing(alias)


def test_body_whose_values_are_gone_fails_with_its_errbacks(alias: str) -> None:
    body = total.s().on_error(total.si([7]).set(task_id="errback"))
    result, worker = ended_header(alias, chord([add.s(1, 1), add.s(2, 2)], body).delay())
    TaskRun.objects.using(alias).filter(state=states.SUCCESS).delete()
    worker.work()
    assert isinstance(result.get(timeout=1, propagate=False), ChordError)
    assert AsyncResult("errback").get(timeout=1) == 7
    assert Group.objects.using(alias).get().body is None


def _lost(alias: str, worker: WorkerHere) -> type[Exception] | None:
    sent(alias).update(redelivered=True, deliveries=3)
    (claimed,) = worker.take()
    settle(worker.token, [settlements.lost(read(claimed, Limits()), "gone", "w@h")], alias)
    return WorkerLostError


def _given_up(alias: str, worker: WorkerHere) -> type[Exception] | None:
    (claimed,) = worker.take()
    settle(worker.token, [settlements.given_up(claimed, large_bodies.TASK, "w@h")], alias)
    return WorkerLostError


def _unknown(alias: str, worker: WorkerHere) -> type[Exception] | None:
    (message,) = sent(alias)
    message.headers = message.headers.replace(f'"task": "{large_bodies.TASK}"', '"task": "no.such"')
    message.save(using=alias)
    return None


def _revoked(alias: str, worker: WorkerHere) -> type[Exception] | None:
    AsyncResult(sent(alias).get().task_id).revoke()
    return None


def _purged(alias: str, worker: WorkerHere) -> type[Exception] | None:
    purge("taskq", alias)
    return None


@pytest.mark.parametrize("end", [_lost, _given_up, _unknown, _revoked, _purged])
@pytest.mark.parametrize("body", [total.s(), same.s() | add.si(1, 1), group(same.s(), same.s())], ids=["a", "b", "c"])
def test_body_ends_however_the_task_for_it_ends(alias: str, end: Callable[..., Any], body: Any) -> None:
    result, worker = ended_header(alias, chord([add.s(1, 1), add.s(2, 2)], body).delay())
    error = end(alias, worker)
    worker.work()
    for each in getattr(result, "results", [result]):
        assert each.state in (states.FAILURE, states.REVOKED)
        assert error is None or isinstance(each.result, error)
    assert waits_for_nothing(alias)
    assert not Group.objects.using(alias).filter(size=2).exclude(remaining=0, failed=False).exists()
    group_id = Node.objects.using(alias).exclude(group_id="").order_by("id").values_list("group_id", flat=True)[0]
    assert not TaskRun.objects.using(alias).filter(task_id=group_id).exists()


def test_body_that_was_revoked_meanwhile_is_not_sent(alias: str) -> None:
    result, worker = ended_header(alias)
    result.revoke()
    worker.work()
    assert result.state == states.REVOKED
    assert waits_for_nothing(alias)


@pytest.mark.parametrize("size", [1, 500])
def test_workflow_that_is_revoked_as_a_whole_has_no_task_for_its_body_left(alias: str, size: int) -> None:
    result, _ = ended_header(alias)
    root_id = Node.objects.using(alias).get(task_id="body").root_id
    for ids in control.workflow_parts(root_id, size):
        control.revoke_workflow_part(ids)
    assert result.state == states.REVOKED
    assert waits_for_nothing(alias)


def test_two_messages_for_one_body_send_it_once(alias: str) -> None:
    with audit(alias):
        result, worker = ended_header(alias)
        (copy,) = sent(alias)
        copy.id = None
        copy.save(using=alias, force_insert=True)
        held = [*worker.take(), *worker.take()]
        ends = worker.run(held)
        assert [end.name for end in ends] == [large_bodies.TASK] * 2
        settle(worker.token, ends[:1], alias)
        settle(worker.token, ends[1:], alias)
        assert Message.objects.using(alias).count() == 1
        worker.work()
        assert times_final(alias)["body"] == 1
    assert result.get(timeout=1) == 6


def test_second_message_that_is_lost_fails_no_body_that_was_sent(alias: str) -> None:
    result, worker = ended_header(alias)
    (copy,) = sent(alias)
    worker.work(1)
    copy.id = None
    copy.save(using=alias, force_insert=True)
    Message.objects.using(alias).exclude(name=large_bodies.TASK).update(queue="later")
    _lost(alias, worker)
    assert result.state == states.PENDING
    Message.objects.using(alias).update(queue="taskq")
    worker.work()
    assert result.get(timeout=1) == 6


def test_message_for_a_group_that_has_not_ended_does_nothing(alias: str) -> None:
    result = chord([add.s(1, 1), add.s(2, 2)], total.s()).delay()
    group_id = Group.objects.using(alias).get().group_id
    (envelope,) = large_bodies.message(Body(group_id, "", "", ""), None, "", "first").envelopes
    enqueue([envelope], alias)
    Message.objects.using(alias).filter(name=add.name).update(queue="later")
    Message.objects.using(alias).filter(queue="first").update(queue="taskq")
    WorkerHere(alias).work()
    assert result.state == states.PENDING
    Message.objects.using(alias).filter(queue="later").update(queue="taskq")
    WorkerHere(alias).work()
    assert result.get(timeout=1) == 6


def test_failed_member_is_retried_when_the_body_has_failed_and_not_before(alias: str) -> None:
    mended.clear()
    header = [fragile.s(2, "a").set(task_id="a"), add.s(1, 1)]
    result, worker = ended_header(alias, chord(header, same.s() | total.s(5)).delay(), 1)
    with pytest.raises(CannotRetry, match="still failing"):
        retry_one("a", alias=alias)
    worker.work()
    assert isinstance(result.get(timeout=1, propagate=False), ChordError)
    mended.add("a")
    retry_one("a", alias=alias)
    worker.work()
    mended.clear()
    assert AsyncResult(result.id).state == states.FAILURE  # total takes one argument
    assert AsyncResult(result.parent.id).get(timeout=1) == [[2, 2]]


def test_retention_keeps_what_a_waiting_body_needs(alias: str) -> None:
    result, worker = ended_header(alias)
    for age in (timedelta(0), timedelta(0)):
        expire(states.SUCCESS, age, alias=alias)
        expire_workflows(age, alias=alias)
    retention.forget([*Node.objects.using(alias).exclude(task_id="body").values_list("task_id", flat=True)], alias)
    worker.work()
    assert result.get(timeout=1) == 6
    assert TaskRun.objects.using(alias).count() == 1


def test_database_that_is_away_puts_the_message_back(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result, worker = ended_header(alias)
    with monkeypatch.context() as away:
        away.setattr("taskq.execution.bodies.DatabaseWorkflows", Mock(side_effect=OperationalError("away")))
        away.setattr("taskq.execution.bodies.for_alias", Mock())
        assert worker.run(worker.take()) == []
    worker.die()
    worker.work()
    assert result.get(timeout=1) == 6


@pytest.mark.parametrize("fails", [False, True])
def test_altered_body_fails_and_runs_nothing(alias: str, settings: Any, fails: bool) -> None:
    settings.TASKQ_SIGNING = True
    header = [add.s(1, "x" if fails else 1), add.s(2, 2)]
    result, worker = ended_header(alias, chord(header, total.s()).delay(), 1 if fails else 2)
    row = Group.objects.using(alias).get()
    Group.objects.using(alias).update(body=(row.body or "").replace("total", "other"))
    worker.work()
    error = result.get(timeout=1, propagate=False)
    assert isinstance(error, ChordError if fails else SignatureMismatch)
    assert waits_for_nothing(alias)


@pytest.mark.parametrize("settled", [True, False])
def test_large_body_of_a_replacement_is_written_by_the_process_that_ran_the_task(
    alias: str, monkeypatch: pytest.MonkeyPatch, settled: bool
) -> None:
    monkeypatch.setattr("taskq.store.long_rests.MOST_IN_MAIN", 100)
    result = becomes.s(chord([add.s(1, 1), add.s(2, 2)], total.s())).delay()
    worker = WorkerHere(alias)
    (end,) = worker.run(worker.take())
    assert [group.body for group in end.follow_ups.groups] == [None]
    if settled:
        settle(worker.token, [end], alias)
    else:
        worker.die()
    worker.work()
    assert result.get(timeout=1) == 6
    assert waits_for_nothing(alias)
