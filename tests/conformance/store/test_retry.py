"""Ended tasks run again: in place or as new, each once, with the arguments that they were sent with."""

from __future__ import annotations

import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import override_settings

from taskq import AsyncResult, control
from taskq.calls import never_again
from taskq.exceptions import CannotRetry
from taskq.models import Attempt, Message, Rerun, Revocation, ScheduledMessage, TaskRun
from taskq.sending.send import send_task
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.settle import settle
from tests.support.envelopes import ending, envelope
from tests.support.jobs.flows import add
from tests.support.worker_here import WorkerHere

ARGUMENTS = [
    2**70,
    -1.5,
    "é\x00",
    None,
    [1, [2]],
    datetime(2024, 2, 29, 12, tzinfo=UTC),
    uuid.UUID(int=7),
    Decimal("1.10"),
]


def end(alias: str, state: str = "FAILURE", **changes: Any) -> None:
    """Take all messages and settle them in one state."""
    settle("w", [ending(message, state, **changes) for message in claim("taskq", 1000, "w", alias)], alias)


def failed(alias: str, name: str = "shop.add", **options: Any) -> str:
    """Send a task that fails; return its id."""
    task_id = send_task(name, [1, 2], **options).id
    end(alias, result='{"exc_type": "ValueError"}', traceback="Traceback", retries=2)
    return task_id


def test_retry_in_place_keeps_the_outcome_as_an_attempt_and_waits_again(alias: str) -> None:
    task_id = failed(alias, priority=7, headers={"own": 1})
    before = TaskRun.objects.using(alias).get()
    retried = control.retry(task_id)
    assert (retried.task_id, retried.of, retried.new, retried.known, retried.queue) == (
        task_id,
        task_id,
        False,
        False,
        "taskq",
    )
    run, attempt, message = (m.objects.using(alias).get() for m in (TaskRun, Attempt, Message))
    assert (run.pk, run.state, run.result, run.traceback, run.worker, run.retries) == (
        before.pk,
        "PENDING",
        None,
        None,
        "",
        0,
    )
    assert (run.started_at, run.finished_at, run.runtime, run.arguments) == (None, None, None, before.arguments)
    assert run.created_at > before.created_at
    assert (attempt.state, attempt.result, attempt.traceback, attempt.worker, attempt.retries, attempt.finished_at) == (
        "FAILURE", '{"exc_type": "ValueError"}', "Traceback", "w@host", 2, before.finished_at,
    )  # fmt: skip
    assert (message.name, message.queue, message.priority, message.tracked) == ("shop.add", "taskq", 7, True)
    end(alias, "SUCCESS")
    assert AsyncResult(task_id).get(timeout=0) == 3


def test_worker_runs_the_retried_task_and_a_waiter_gets_the_new_outcome(alias: str) -> None:
    result = add.apply_async((1, 2), task_id="mine")
    end(alias)
    control.retry("mine", queue="taskq")
    assert result.state == "PENDING"
    WorkerHere(alias).work()
    assert AsyncResult("mine").get(timeout=0) == 3
    assert Attempt.objects.using(alias).get().state == "FAILURE"


def test_arguments_stay_as_they_were_sent_byte_for_byte(alias: str) -> None:
    send_task("shop.add", ARGUMENTS, {"a": {"b": [1e300, True]}})
    first = Message.objects.using(alias).get().body
    end(alias)
    with override_settings(TASKQ_SERIALIZER="yaml", TASKQ_ACCEPT_CONTENT=["json", "yaml"]):
        control.retry_many(TaskRun.objects.using(alias).values_list("task_id", flat=True))
    again = Message.objects.using(alias).get()
    assert (again.body, again.content_type) == (first, "application/json")


def test_times_and_the_kind_of_the_result_of_the_first_run_are_not_kept(alias: str) -> None:
    task_id = failed(alias, expires=3600)
    rows = TaskRun.objects.using(alias)
    rows.update(eta=datetime.now(UTC), children="[]", content_type="application/x-yaml")
    assert rows.get().expires_at is not None
    control.retry(task_id)
    run = rows.get()
    assert (run.eta, run.expires_at, run.children, run.content_type) == (None, None, None, "application/json")


@pytest.mark.parametrize("expires", [timedelta(hours=1), datetime(2040, 1, 1, tzinfo=UTC)], ids=["delay", "moment"])
def test_expiry_of_the_task_itself_counts_anew(alias: str, expires: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(add, "expires", expires)
    add.apply_async((1, 2), task_id="mine")
    end(alias)
    rows = TaskRun.objects.using(alias)
    rows.update(expires_at=None)
    before = datetime.now(UTC)
    control.retry("mine")
    found = rows.get().expires_at
    assert found is not None
    assert found == expires if isinstance(expires, datetime) else found > before + expires / 2


def test_revoked_task_runs_when_it_is_retried_though_its_revocation_is_remembered(alias: str) -> None:
    control.revoke("x")
    send_task("shop.add", [1, 2], task_id="x")
    end(alias, "REVOKED")
    assert Revocation.objects.using(alias).exists()
    control.retry("x")
    (message,) = claim("taskq", 10, "w", alias)
    assert message.revoked == ""


def test_new_run_is_linked_to_the_old_one_which_stays(alias: str) -> None:
    task_id = failed(alias)
    new = control.retry(task_id, new=True, by="ann", reason="the disk was full", countdown=3600)
    assert new.new
    link = Rerun.objects.using(alias).get()
    assert (link.task_id, link.of_task_id, link.by, link.reason) == (new.task_id, task_id, "ann", "the disk was full")
    states = dict(TaskRun.objects.using(alias).values_list("task_id", "state"))
    assert states == {task_id: "FAILURE", new.task_id: "PENDING"}
    scheduled = ScheduledMessage.objects.using(alias).get()
    assert (scheduled.task_id, json.loads(scheduled.headers)["root_id"]) == (new.task_id, new.task_id)


def test_changed_arguments_are_those_of_the_next_run(alias: str) -> None:
    task_id = failed(alias)
    control.retry(task_id, args=[5], queue="slow", countdown=60)
    run, message = TaskRun.objects.using(alias).get(), ScheduledMessage.objects.using(alias).get()
    assert (run.arguments, run.queue, message.queue) == ("[[5], {}]", "slow", "slow")
    assert run.eta is not None
    assert abs((run.eta - message.due_at).total_seconds()) < 1
    assert message.body.startswith("[[5], {}, ")


@pytest.mark.parametrize(
    ("state", "reason"), [("SUCCESS", "succeeded"), ("RETRY", "unfinished"), (None, "unfinished"), ("none", "missing")]
)
def test_refused_by_state(alias: str, state: str | None, reason: str) -> None:
    task_id = send_task("shop.add", [1, 2]).id
    if state in ("RETRY", "SUCCESS"):
        end(alias, state)
    with pytest.raises(CannotRetry) as error:
        control.retry("none" if state == "none" else task_id)
    assert (error.value.reason, Attempt.objects.using(alias).filter(state="SUCCESS").exists()) == (reason, False)
    assert str(error.value).endswith(".")


def test_task_that_ended_without_a_state_can_be_retried_if_nothing_of_it_is_left(alias: str) -> None:
    ids = [send_task("shop.add", [n, n]).id for n in range(2)]
    TaskRun.objects.using(alias).update(state="PROGRESS", finished_at=datetime.now(UTC))
    Message.objects.using(alias).filter(task_id=ids[0]).delete()
    counts = control.retry_many(ids)
    assert (counts.done, counts.refused) == (1, {"unfinished": 1})


def test_two_at_once_retry_each_task_once(alias: str) -> None:
    for n in range(30):
        enqueue([envelope(f"t{n}")], alias)
    end(alias)
    ids, counts = [f"t{n}" for n in range(30)], []
    start = threading.Barrier(3)

    def press() -> None:
        start.wait()
        counts.append(control.retry_many(ids).done)
        connections[alias].close()

    threads = [threading.Thread(target=press) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(counts) == 30
    assert sorted(Message.objects.using(alias).values_list("task_id", flat=True)) == sorted(ids)
    assert Attempt.objects.using(alias).count() == 30


def test_nothing_is_retried_in_a_transaction_that_is_rolled_back(alias: str) -> None:
    task_id = failed(alias)
    with transaction.atomic(using=alias):
        control.retry(task_id)
        transaction.set_rollback(True, using=alias)
    assert not Message.objects.using(alias).exists()
    assert TaskRun.objects.using(alias).get().state == "FAILURE"


def test_many_say_what_happened_to_each(alias: str) -> None:
    ids = [failed(alias), send_task("shop.add", [1, 1]).id, "none", "\0", "\ud800", "x" * 999]
    counts = control.retry_many([*ids, ids[0]])
    assert (counts.done, counts.refused) == (1, {"unfinished": 1, "missing": 4})
    assert "has not ended: it waits" in counts.examples["unfinished"]


# -- moving, priorities, deleting


def test_move_takes_waiting_and_scheduled_messages_and_not_held_ones(alias: str) -> None:
    enqueue([envelope("held")], alias)
    claim("taskq", 10, "w", alias)
    enqueue([envelope("waits"), envelope("later", delay=60.0), envelope("parked")], alias)
    Message.objects.using(alias).filter(task_id="parked").update(queue="\x1flimited\x1ftaskq\x1fshop.add")
    counts = control.move(["held", "waits", "later", "parked", "none"], "slow")
    assert (counts.done, counts.refused) == (3, {"held": 1, "not_waiting": 1})
    assert dict(Message.objects.using(alias).values_list("task_id", "queue")) == {
        "held": "taskq",
        "waits": "slow",
        "parked": "slow",
    }
    assert ScheduledMessage.objects.using(alias).get().queue == "slow"
    assert TaskRun.objects.using(alias).filter(queue="slow").count() == 3


def test_priority_of_the_message_decides_the_next_claim(alias: str) -> None:
    enqueue([envelope("first"), envelope("second")], alias)
    assert control.prioritize(["second"], 9).done == 1
    assert [message.task_id for message in claim("taskq", 10, "w", alias)] == ["second", "first"]
    assert TaskRun.objects.using(alias).get(task_id="second").priority == 9
    with pytest.raises(ValueError, match="0 to 9"):
        control.prioritize(["second"], 10)


def test_delete_takes_ended_runs_with_their_attempts(alias: str) -> None:
    task_id = failed(alias)
    control.retry(task_id)
    end(alias)
    waits = send_task("shop.add", [1, 2]).id
    counts = control.delete_runs([task_id, waits, "none"])
    assert (counts.done, counts.refused) == (1, {"unfinished": 1, "missing": 1})
    assert "revoke" in counts.examples["unfinished"]
    assert not Attempt.objects.using(alias).exists()
    assert TaskRun.objects.using(alias).get().task_id == waits


@pytest.mark.parametrize("new", [False, True])
def test_some_arguments_and_the_priority_are_changed(alias: str, new: bool) -> None:
    """By name: also one that was given by its position, if the function is known; the others stay."""
    by_position, by_name = failed(alias, add.name, priority=3), add.delay(x=1, y=2).id
    unknown = failed(alias)
    end(alias)
    counts = control.retry_many([by_position, by_name, unknown], new=new, update_kwargs={"y": 5}, priority=7)
    assert (counts.done, counts.refused) == (2, {"refused": 1})
    assert "does not know shop.add" in counts.examples["refused"]
    sent = Message.objects.using(alias).values_list("body", "priority")
    assert sorted((json.loads(body)[:2], priority) for body, priority in sent) == [
        ([[], {"x": 1, "y": 5}], 7),
        ([[1, 5], {}], 7),
    ]
    runs = TaskRun.objects.using(alias).filter(state="PENDING")
    assert set(runs.values_list("priority", flat=True)) == {7}


def test_arguments_that_the_function_does_not_take_are_refused(alias: str) -> None:
    task_id = failed(alias, add.name)
    counts = control.retry_many([task_id], update_kwargs={"z": 5})
    assert counts.refused == {"refused": 1}
    for wrong in ({"priority": 10}, {"kwargs": {}, "update_kwargs": {"x": 1}}):
        with pytest.raises(ValueError, match=r"priority|update_kwargs"):
            control.retry(task_id, **wrong)
    assert not Message.objects.using(alias).exists()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_tasks_of_some_names_are_never_run_again(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(never_again, "_REASONS", {})
    control.never_retry("shop.pay_out", "Payments are entered anew.")
    task_id, other = failed(alias, "shop.pay_out"), failed(alias)
    for options in ({}, {"new": True}, {"args": [], "kwargs": {}}):
        with pytest.raises(CannotRetry, match="entered anew") as error:
            control.retry(task_id, **options)
        assert error.value.reason == "refused"
    assert control.retry_many([task_id, other]).ids == [other]


def test_pressing_twice_runs_a_task_again_as_new_once(alias: str) -> None:
    task_id = failed(alias)
    asked = datetime.now(UTC)
    new = control.retry(task_id, new=True, since=asked).task_id
    made = Rerun.objects.using(alias).get().created_at
    for since in (asked, made):
        with pytest.raises(CannotRetry, match=f"again already, as {new}"):
            control.retry(task_id, new=True, since=since)
    other = failed(alias)
    counts = control.retry_many([task_id, other], new=True, since=asked)
    assert (counts.ids, counts.refused) == ([other], {"repeated": 1})
    assert Rerun.objects.using(alias).filter(of_task_id=task_id).count() == 1
    assert control.retry(task_id, new=True).task_id != new


def test_since_is_refused_for_a_task_that_runs_again_in_its_place(alias: str) -> None:
    task_id = failed(alias)
    asked = datetime.now(UTC)
    for act in (lambda: control.retry(task_id, since=asked), lambda: control.retry_many([task_id], since=asked)):
        with pytest.raises(ValueError, match="since goes with new=True"):
            act()
    assert not Message.objects.using(alias).exists()
