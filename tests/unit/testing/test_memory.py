from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import translation

from taskq import AsyncResult, send_task
from taskq.exceptions import EncodeError, NotRegistered, TaskRevokedError, TimeoutError, WorkerLostError
from taskq.testing import FOREVER, Ended, Memory, override

from . import tasks


@pytest.fixture
def memory() -> Iterator[Memory]:
    tasks.seen.clear()
    with override("memory") as made:
        yield made


def test_no_task_runs_before_drain(memory: Memory) -> None:
    result = tasks.add.delay(2, 2)
    assert result.state == "PENDING"
    assert result.exists()
    assert (result.name, result.args, result.queue) == (tasks.add.name, [2, 2], "taskq")
    assert memory.drain() == [Ended(tasks.add.name, result.id, "SUCCESS")]
    assert result.get(timeout=1) == 4
    assert result.worker == "memory@localhost"
    assert memory.drain() == []
    assert len(memory.sent) == 1


def test_memory_mode_needs_no_database(memory: Memory) -> None:
    """These tests have no mark ``django_db``: pytest-django would let none of them connect."""
    assert tasks.add.apply_async((1, 1)).exists()


def test_large_result_needs_no_database(memory: Memory) -> None:
    result = tasks.same.delay("x" * 300_000)
    memory.drain()
    assert result.get(timeout=1) == "x" * 300_000
    assert tasks.same.apply(("x" * 300_000,)).get() == "x" * 300_000


def test_get_before_drain_is_an_error_that_names_drain(memory: Memory) -> None:
    result = tasks.add.delay(2, 2)
    with pytest.raises(RuntimeError, match=r"taskq\.testing\.drain\(\)"):
        result.get()
    with pytest.raises(TimeoutError):
        result.get(timeout=1)


def test_arguments_are_encoded_and_decoded(memory: Memory) -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    tasks.note.delay((1, 2), when, key={"a": (3,)})
    memory.drain()
    assert tasks.seen == [(([1, 2], when), {"key": {"a": [3]}})]


def test_argument_that_can_not_be_encoded_is_an_error_at_once(memory: Memory) -> None:
    with pytest.raises(EncodeError):
        tasks.note.delay(object())
    assert len(memory.sent) == 0


def test_failure_is_raised_by_the_result(memory: Memory) -> None:
    result = tasks.fail.delay()
    assert [end.state for end in memory.drain()] == ["FAILURE"]
    with pytest.raises(ValueError, match="boom"):
        result.get()
    assert result.failed()
    assert "boom" in (result.traceback or "")


def test_drain_with_propagate_raises_the_failure(memory: Memory) -> None:
    result = tasks.fail.delay()
    with pytest.raises(ValueError, match="boom"):
        memory.drain(propagate=True)
    assert result.state == "FAILURE"


def test_return_value_that_can_not_be_stored_is_a_failure(memory: Memory) -> None:
    result = tasks.unstorable.delay()
    memory.drain()
    with pytest.raises(EncodeError):
        result.get()


def test_wrong_arguments_are_a_failure(memory: Memory) -> None:
    result = tasks.add.delay(2)  # type: ignore[call-arg]
    memory.drain()
    with pytest.raises(TypeError):
        result.get()


def test_unknown_task_fails_with_not_registered(memory: Memory) -> None:
    result = send_task("no.such.task")
    memory.drain()
    with pytest.raises(NotRegistered):
        result.get()


def test_drain_runs_tasks_sent_by_tasks(memory: Memory) -> None:
    result = tasks.parent.delay()
    assert [end.name for end in memory.drain()] == [tasks.parent.name, tasks.add.name]
    assert AsyncResult[int](result.get()).get() == 3
    assert result.children == [AsyncResult(result.get())]
    assert [message.name for message in memory.sent] == [tasks.parent.name, tasks.add.name]


def test_scheduled_tasks_wait_until_they_are_due(memory: Memory) -> None:
    with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC), tick=False) as clock:
        tasks.note.apply_async(("now",))
        tasks.note.apply_async(("hour",), countdown=3600)
        tasks.note.apply_async(("day",), eta=datetime(2026, 1, 2, tzinfo=UTC))
        memory.drain()
        assert tasks.seen == [(("now",), {})]
        memory.drain(until=timedelta(hours=2))
        assert tasks.seen[1:] == [(("hour",), {})]
        assert memory.drain(until=datetime(2026, 1, 1, 23, tzinfo=UTC)) == []
        clock.move_to(datetime(2026, 1, 2, tzinfo=UTC))
        memory.drain()
        assert tasks.seen[2:] == [(("day",), {})]


def test_retries_run_when_drain_reaches_their_time(memory: Memory) -> None:
    result = tasks.retry.delay()
    assert [end.state for end in memory.drain()] == ["RETRY"]
    assert result.state == "RETRY"
    assert isinstance(result.result, ValueError)
    assert [end.state for end in memory.drain(until=FOREVER)] == ["RETRY", "SUCCESS"]
    assert result.get() == 2
    assert result.retries == 2
    assert len(memory.sent) == 1


def test_drain_stops_tasks_that_retry_without_end(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.testing.memory.MOST_RUNS", 20)
    tasks.for_ever.delay()
    with pytest.raises(RuntimeError, match="has run 20 tasks"):
        memory.drain(until=FOREVER)


def test_expired_tasks_dont_run(memory: Memory) -> None:
    with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC), tick=False) as clock:
        result = tasks.note.apply_async(expires=10)
        clock.shift(11)
        memory.drain()
        assert tasks.seen == []
        with pytest.raises(TaskRevokedError, match="expired"):
            result.get()


def test_revoked_tasks_dont_run(memory: Memory) -> None:
    result = tasks.note.delay()
    result.revoke()
    assert memory.drain() == []
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get()


def test_revoking_an_ended_task_changes_nothing(memory: Memory) -> None:
    result = tasks.add.delay(1, 1)
    memory.drain()
    result.revoke()
    assert AsyncResult[int](result.id).get() == 2


def test_forget_removes_the_result(memory: Memory) -> None:
    result = tasks.add.delay(1, 1)
    memory.drain()
    result.forget()
    assert not result.exists()


def test_drain_of_one_queue_runs_by_priority(memory: Memory) -> None:
    tasks.note.apply_async(("low",), priority=1)
    tasks.note.apply_async(("high",), priority=9)
    tasks.note.apply_async(("other",), queue="other")
    assert len(memory.drain(queue="taskq")) == 2
    assert [args for args, _ in tasks.seen] == [("high",), ("low",)]
    assert [message.queue for message in memory.waiting] == ["other"]
    memory.drain(queue="other")
    assert len(memory.waiting) == 0


def test_get_within_a_task_is_refused_or_does_not_wait(memory: Memory) -> None:
    refused, allowed = tasks.waits.delay(False), tasks.waits.delay(True)
    memory.drain()
    assert "within a task" in str(refused.get(propagate=False))
    assert "has not run" in str(allowed.get(propagate=False))


def test_own_states_are_seen_while_the_task_runs(memory: Memory) -> None:
    result = tasks.progress.delay()
    memory.drain()
    assert tasks.seen == [("PROGRESS", {"done": 1}, False)]
    assert result.successful()


def test_rejected_message_fails_or_waits_again(memory: Memory) -> None:
    failed, again = tasks.rejects.delay(False), tasks.rejects.delay(True)
    assert [end.task_id for end in memory.drain()] == [failed.id]
    assert failed.state == "FAILURE"
    assert [message.id for message in memory.waiting] == [again.id]


def test_rejected_message_is_redelivered_by_the_next_drain(memory: Memory) -> None:
    result = tasks.rejects_once.delay()
    assert memory.drain() == []
    memory.drain()
    assert result.get() == "received two times"


def test_task_that_exits_fails_with_worker_lost(memory: Memory) -> None:
    result = tasks.leaves.delay()
    memory.drain()
    with pytest.raises(WorkerLostError, match="exitcode 3"):
        result.get()


def test_task_does_not_run_in_the_senders_language(memory: Memory) -> None:
    with translation.override("de"):
        result = tasks.language.delay()
        memory.drain()
        assert translation.get_language() == "de"
    assert result.get() == "en-us"


def test_ignored_results_leave_no_row(memory: Memory) -> None:
    result = tasks.ignored.delay()
    assert result.exists()
    memory.drain()
    assert not AsyncResult[int](result.id).exists()


def test_sensitive_arguments_reach_the_task_alone(memory: Memory) -> None:
    result = tasks.secret.delay("me", password="hush")
    assert "hush" not in repr(result.args) + repr(result.kwargs)
    memory.drain()
    assert result.get() == "hush"


def test_sending_again_under_a_settled_id_runs_again(memory: Memory) -> None:
    tasks.add.apply_async((1, 1), task_id="mine")
    memory.drain()
    first = AsyncResult[int]("mine")
    assert first.get() == 2
    tasks.add.apply_async((2, 2), task_id="mine")
    assert AsyncResult[int]("mine").state == "PENDING"
    memory.drain()
    assert AsyncResult[int]("mine").get() == 4
    assert first.get() == 2


def test_pending_untracked_task_has_no_run_until_it_ends(memory: Memory, settings: Any) -> None:
    settings.TASKQ_TRACK_PENDING = False
    result = tasks.add.delay(1, 1)
    assert not result.exists()
    memory.drain()
    assert result.get() == 2
    assert result.args == [1, 1]


@pytest.mark.parametrize("serializer", ["pickle"])
def test_messages_may_be_pickled(memory: Memory, settings: Any, serializer: str) -> None:
    settings.TASKQ_ACCEPT_CONTENT = ["json", serializer]
    tasks.note.apply_async(({1, 2},), serializer=serializer)
    assert memory.sent[0].args == [{1, 2}]
    memory.drain()
    assert tasks.seen == [(({1, 2},), {})]


def test_messages_sent_by_other_threads_are_drained(memory: Memory) -> None:
    thread = threading.Thread(target=tasks.add.delay, args=(1, 1))
    thread.start()
    thread.join()
    assert [end.state for end in memory.drain()] == ["SUCCESS"]


def test_inline_mode_runs_tasks_at_once_except_those_due_later() -> None:
    with override("inline") as memory:
        assert tasks.add.delay(2, 2).get() == 4
        result = tasks.fail.delay()
        assert result.failed()
        later = tasks.add.apply_async((1, 1), countdown=60)
        with pytest.raises(RuntimeError, match="due later"):
            later.get()
        assert tasks.waits.delay(True).get() == 3
        assert [end.name for end in memory.drain(until=FOREVER)] == [tasks.add.name]
        assert len(tasks.parent.delay().get()) == 36


def test_inline_mode_with_propagate_raises_the_failure() -> None:
    with override("inline", propagate=True), pytest.raises(ValueError, match="boom"):
        tasks.fail.delay()


def test_adelay_adrain_and_await() -> None:
    import asyncio

    async def main(memory: Memory) -> int:
        result = await tasks.add.adelay(1, 2)
        await memory.adrain()
        return await result

    with override("memory") as memory:
        assert asyncio.run(main(memory)) == 3
