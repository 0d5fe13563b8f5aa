"""Settling: once, whole, by the holder alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, Error, connections, transaction

from taskq import states
from taskq.engines import Engine
from taskq.models import Attempt, Message, ScheduledMessage, TaskRun
from taskq.records import Claimed, FollowUps, Progress, Settlement, Unreachable
from taskq.store import retention, workers
from taskq.store import settle as settling
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.progress import write
from taskq.store.settle import settle
from tests.support.envelopes import ending, envelope
from tests.support.retention import expire


def _report(message: Claimed, state: str, meta: str | None = None) -> Progress:
    return Progress(message.id, message.task_id, "shop.add", "taskq", state, meta, "application/json", 1.0, "w")


def _claimed(*envelopes: Any) -> tuple[str, list[Claimed]]:
    enqueue(envelopes)
    token = workers.register("w")
    return token, claim("taskq", 1000, token)


@pytest.mark.parametrize("tracked", [True, False])
def test_settling_writes_the_run_and_deletes_the_message(alias: str, tracked: bool) -> None:
    token, (message,) = _claimed(envelope("x", tracked=tracked))
    end = ending(message, "FAILURE", traceback="line 1", retries=2, children="[1]", arguments="[[], {}]")
    assert settle(token, [end]) == {message.id}
    run = TaskRun.objects.using(alias).get()
    assert (run.task_id, run.state, run.result, run.traceback) == ("x", "FAILURE", "3", "line 1")
    assert (run.retries, run.children, run.worker, run.runtime) == (2, "[1]", "w@host", 0.25)
    assert run.started_at is not None
    assert run.started_at.timestamp() == 1_700_000_000.25
    assert run.finished_at is not None
    assert run.finished_at.timestamp() == 1_700_000_000.5
    assert run.arguments == ("[[1, 2], {}]" if tracked else "[[], {}]")
    assert not Message.objects.using(alias).exists()


def test_settling_again_settles_nothing(alias: str) -> None:
    token, (message,) = _claimed(envelope())
    follow_up = envelope()
    settle(token, [ending(message, result="1", follow_ups=(follow_up,))])
    assert settle(token, [ending(message, "FAILURE", result="2", follow_ups=(envelope(),))]) == set()
    assert TaskRun.objects.using(alias).get(task_id=message.task_id).result == "1"
    assert list(Message.objects.using(alias).values_list("task_id", flat=True)) == [follow_up.task_id]


def test_only_the_holder_settles(alias: str) -> None:
    token, messages = _claimed(envelope(), envelope())
    Message.objects.using(alias).filter(id=messages[0].id).update(token="another")
    assert settle(token, [ending(m) for m in messages]) == {messages[1].id}
    assert set(TaskRun.objects.using(alias).values_list("task_id", "state")) == {
        (messages[0].task_id, "PENDING"),
        (messages[1].task_id, "SUCCESS"),
    }


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("final", sorted(states.READY_STATES))
def test_second_end_does_not_overwrite_a_final_state(alias: str, final: str, tracked: bool) -> None:
    token, messages = _claimed(envelope("x"), envelope("x", tracked=tracked))
    settle(token, [ending(messages[0], final, result="first")])
    assert settle(token, [ending(messages[1], "SUCCESS", result="second")]) == {messages[1].id}
    run = TaskRun.objects.using(alias).get()
    assert (run.state, run.result) == (final, "first")


def test_many_messages_are_settled_in_one_call(alias: str) -> None:
    token, messages = _claimed(*(envelope(tracked=n % 3 > 0) for n in range(100)))
    assert settle(token, [ending(m, result=str(n)) for n, m in enumerate(messages)]) == {m.id for m in messages}
    assert {r.task_id: r.result for r in TaskRun.objects.using(alias).all()} == {
        m.task_id: str(n) for n, m in enumerate(messages)
    }


def test_success_with_ignored_result_leaves_no_run(alias: str) -> None:
    token, messages = _claimed(envelope(), envelope(tracked=False))
    assert len(settle(token, [ending(m, keep=False) for m in messages])) == 2
    assert not TaskRun.objects.using(alias).exists()
    assert not Message.objects.using(alias).exists()


def test_run_that_raised_ignore_keeps_its_last_progress_state(alias: str) -> None:
    token, (message,) = _claimed(envelope())
    write(
        token,
        [_report(message, "HALFWAY", "50")],
    )
    settle(token, [ending(message, states.IGNORED)])
    run = TaskRun.objects.using(alias).get()
    assert (run.state, run.result) == ("HALFWAY", "50")
    assert not Message.objects.using(alias).exists()


def test_run_that_raised_ignore_without_progress_leaves_no_lasting_row(alias: str) -> None:
    token, (message,) = _claimed(envelope())
    settle(token, [ending(message, states.IGNORED)])
    assert not TaskRun.objects.using(alias).exists()
    token, (message,) = _claimed(envelope())
    write(
        token,
        [
            Progress(
                message.id, message.task_id, "shop.add", "taskq", states.STARTED, None, "application/json", 1.0, "w"
            )
        ],
    )
    settle(token, [ending(message, states.IGNORED)])
    assert TaskRun.objects.using(alias).get().state == states.STARTED
    TaskRun.objects.using(alias).update(finished_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert states.STARTED in retention.ages()
    assert expire(states.STARTED, timedelta(days=1)) == 1


def test_retry_writes_an_attempt_and_a_scheduled_message(alias: str) -> None:
    token, (message,) = _claimed(envelope("x"))
    settle(token, [ending(message, "RETRY", result="why", follow_ups=(envelope("x", delay=30, reset=False),))])
    assert TaskRun.objects.using(alias).get().state == states.RETRY
    assert Attempt.objects.using(alias).get().result == "why"
    scheduled = ScheduledMessage.objects.using(alias).get()
    assert (scheduled.task_id, scheduled.tracked) == ("x", True)


def test_follow_up_of_another_task_gets_its_own_run(alias: str) -> None:
    token, (message,) = _claimed(envelope("x"))
    settle(token, [ending(message, follow_ups=(envelope("y"), envelope("z", tracked=False)))])
    assert set(TaskRun.objects.using(alias).values_list("task_id", "state")) == {("x", "SUCCESS"), ("y", "PENDING")}
    assert set(Message.objects.using(alias).values_list("task_id", flat=True)) == {"y", "z"}


def test_end_that_the_database_refuses_becomes_a_failure_and_harms_no_other(alias: str) -> None:
    token, messages = _claimed(*(envelope() for _ in range(9)))
    ends = [ending(m) for m in messages]
    ends[4].result = "\ud800"
    ends[4].follow_ups = FollowUps([envelope()])
    assert len(settle(token, ends)) == 9
    runs = {r.task_id: r for r in TaskRun.objects.using(alias).all()}
    culprit = runs.pop(messages[4].task_id)
    assert {r.state for r in runs.values()} == {"SUCCESS"}
    assert culprit.state == "FAILURE"
    assert json.loads(culprit.result or "")["exc_type"] == "EncodeError"
    assert not Message.objects.using(alias).exists()


def test_a_large_result_is_kept_whole(alias: str) -> None:
    token, (message,) = _claimed(envelope())
    settle(token, [ending(message, result="é" * 200_000)])
    assert TaskRun.objects.using(alias).get().result == "é" * 200_000


def test_settling_takes_part_in_the_callers_transaction(alias: str) -> None:
    token, (message,) = _claimed(envelope())
    with pytest.raises(RuntimeError), transaction.atomic(using=alias):
        settle(token, [ending(message)])
        raise RuntimeError
    assert Message.objects.using(alias).get().token == token
    assert TaskRun.objects.using(alias).get().state == states.PENDING


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_end_refused_by_a_read_only_server_is_settled_later_unchanged(alias: str) -> None:
    token, messages = _claimed(envelope("x"), envelope("y"))
    ends = [ending(message) for message in messages]
    with connections[alias].cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        with pytest.raises(Error, match="read-only"):
            settle(token, ends)
        cursor.execute("SET default_transaction_read_only = off")
    assert settle(token, ends) == {message.id for message in messages}
    assert set(TaskRun.objects.using(alias).values_list("state", flat=True)) == {"SUCCESS"}


def test_end_that_keeps_no_run_leaves_one_that_has_ended(alias: str) -> None:
    token, (message,) = _claimed(envelope("x"))
    TaskRun.objects.using(alias).update(state=states.REVOKED)
    assert settle(token, [ending(message, keep=False)]) == {message.id}
    assert TaskRun.objects.using(alias).get().state == states.REVOKED


def test_message_is_deleted_alone_if_nothing_of_its_end_can_be_written(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ends = settling.write_ends

    def refuse(engine: Engine, settled: Sequence[Settlement], rows: Any = None) -> None:
        if any(s.linked or s.state != states.IGNORED for s in settled):
            raise DataError("refused")
        write_ends(engine, settled, rows)

    monkeypatch.setattr(settling, "write_ends", refuse)
    step = {"task": "shop.add", "args": [], "kwargs": {}, "options": {"task_id": "y"}}
    token, (message,) = _claimed(envelope("x", body=json.dumps([[1, 2], {}, {"chain": [step]}])))
    end = ending(message, states.FAILURE, unreachable=[Unreachable("y", "shop.add")])
    assert settle(token, [end]) == {message.id}
    assert not Message.objects.using(alias).exists()
