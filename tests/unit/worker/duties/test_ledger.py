"""The ledger: batches, and what stays noted until it is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.db import DatabaseError, InternalError, OperationalError, ProgrammingError

from taskq.engines import for_alias
from taskq.models import Message, TaskRun
from taskq.records import Claimed, Progress
from taskq.store import workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.settle import settle
from taskq.worker.duties import ledger as ledger_module
from taskq.worker.duties import set_aside
from taskq.worker.duties.lease import WorkerLease
from taskq.worker.duties.ledger import Ledger
from tests.support.envelopes import ending, envelope
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lease() -> WorkerLease:
    lease = WorkerLease("w", 30.0, "default", info=dict, on_revoked=lambda asked: None, on_lost=lambda ids: None)
    lease.token = workers.register("w")
    return lease


@pytest.fixture
def messages(lease: WorkerLease) -> list[Claimed]:
    enqueue([envelope() for _ in range(5)])
    messages = claim("taskq", 5, lease.token)
    lease.take([message.id for message in messages])
    return messages


def test_ledger_settles_in_batches_and_tells_whether_more_are_noted(
    lease: WorkerLease, messages: list[Claimed]
) -> None:
    ledger = Ledger(lease, "default", batch=3)
    for message in messages:
        ledger.add([ending(message)])
    assert not ledger.done
    assert ledger.work()
    assert (ledger.written, lease.held) == (3, 2)
    assert not ledger.work()
    assert (ledger.written, lease.held, ledger.done) == (5, 0, True)
    assert set(TaskRun.objects.values_list("state", flat=True)) == {"SUCCESS"}


def test_entries_whose_commit_failed_stay_noted_and_are_written_later(
    lease: WorkerLease, messages: list[Claimed], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("gone")

    ledger = Ledger(lease, "default")
    ledger.add([ending(messages[0])])
    answers: list[bool] = []
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "settle", fail)
        patch.setattr(ledger_module.claim, "count_start", fail)
        ledger.count(messages[1].id, answers.append)
        for _ in range(2):
            with pytest.raises(OperationalError):
                ledger.work()
        assert not ledger.done
    ledger.work()
    assert ledger.done
    assert answers == [True]
    assert Message.objects.get(id=messages[1].id).deliveries == 1
    assert TaskRun.objects.get(task_id=messages[0].task_id).state == "SUCCESS"


def test_each_message_is_settled_under_the_token_it_was_claimed_with(
    lease: WorkerLease, messages: list[Claimed], caplog: pytest.LogCaptureFixture
) -> None:
    before = lease.token
    lease.token = workers.register("w")
    workers.deregister(before)
    (own,) = claim("taskq", 1, lease.token)
    lease.take([own.id])
    ledger = Ledger(lease, "default")
    stale = next(message for message in messages if message.id != own.id)
    ledger.add([ending(own)])
    ledger.add([ending(stale)])
    ledger.work()
    assert TaskRun.objects.get(task_id=own.task_id).state == "SUCCESS"
    assert TaskRun.objects.get(task_id=stale.task_id).state == "PENDING"
    assert f"{stale.task_id}] ended with SUCCESS, but this worker was taken for dead" in caplog.text
    assert own.task_id not in caplog.text


def test_messages_given_back_are_held_until_that_is_written(lease: WorkerLease, messages: list[Claimed]) -> None:
    ledger = Ledger(lease, "default")
    ledger.requeue([messages[0].id, messages[1].id])
    ledger.requeue_lost(messages[2].id, starts=1, reason="signal 9", worker="w", started=None)
    ledger.postpone(messages[3], 60.0)
    ledger.drop(messages[4].id)
    assert lease.held == 5
    ledger.work()
    assert lease.held == 0
    assert Message.objects.filter(token="").count() == 3


def test_a_requeue_undoes_the_commit_that_was_asked_for_before_it(lease: WorkerLease, messages: list[Claimed]) -> None:
    ledger = Ledger(lease, "default")
    counted, acknowledged = messages[:2]
    ledger.count(counted.id, lambda held: None)
    ledger.acknowledge(acknowledged.id, lambda held: None)
    ledger.requeue([counted.id, acknowledged.id], [counted.id])
    ledger.work()
    workers.deregister(lease.token)
    back = Message.objects.filter(id__in=[counted.id, acknowledged.id])
    assert set(back.values_list("token", "deliveries", "acked")) == {("", 0, False)}


@pytest.mark.parametrize("verb", ["count_start", "acknowledge"])
def test_start_that_the_database_refuses_is_denied_and_its_message_goes_back(
    lease: WorkerLease,
    messages: list[Claimed],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    verb: str,
) -> None:
    ledger, answers = Ledger(lease, "default"), []
    commit = ledger.count if verb == "count_start" else ledger.acknowledge
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module.claim, verb, _refuse)
        commit(messages[0].id, answers.append)
        ledger.work()
    assert (answers, ledger.done, lease.held) == ([False], True, 4)
    assert Message.objects.get(id=messages[0].id).token == ""
    assert "could not be written" in caplog.text


def test_message_whose_postpone_or_requeue_is_refused_is_not_held(
    lease: WorkerLease, messages: list[Claimed], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(lease, "default")
    with monkeypatch.context() as patch:
        for name in ("postpone", "requeue_lost"):
            patch.setattr(ledger_module.requeue, name, _refuse)
        ledger.postpone(messages[0], 60.0)
        ledger.requeue_lost(messages[1].id, starts=1, reason="signal 9", worker="w", started=None)
        ledger.work()
        assert (ledger.done, lease.held) == (True, 3)
        patch.setattr(ledger_module.requeue, "requeue", _refuse)
        ledger.requeue([messages[2].id, messages[3].id])
        ledger.work()
        assert (ledger.done, lease.held) == (True, 1)
    assert Message.objects.filter(token="").count() == 2


def _refuse(*args: object, **kwargs: object) -> None:
    raise ProgrammingError("no such column")


@pytest.mark.parametrize("error", [InternalError("read-only transaction"), DatabaseError("malformed"), OSError()])
def test_write_that_fails_by_the_state_of_the_database_is_repeated(
    lease: WorkerLease, messages: list[Claimed], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    ledger, message = Ledger(lease, "default"), messages[0]
    ledger.requeue([message.id])
    ledger.report(Progress(message.id, message.task_id, "a name", "taskq", "STEP", "1", "application/json", 0.0, "w"))
    for module, name in ((ledger_module.progress, "write"), (ledger_module.requeue, "requeue")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            with pytest.raises(type(error)):
                ledger.work()
    assert lease.holds(message.id)
    ledger.work()
    assert (ledger.done, lease.held) == (True, 4)
    assert Message.objects.get(id=message.id).token == ""


# -- messages that could not be settled


def _dropped(ledger: Ledger, message: Claimed) -> None:
    ledger.add([ending(message)])
    ledger.work()
    assert ledger.done


def test_end_whose_commit_was_not_answered_is_told_as_settled(
    lease: WorkerLease, messages: list[Claimed], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def cut(*args: object) -> None:
        settle(*args)  # type: ignore[arg-type]
        raise OperationalError("the answer was lost")

    caplog.set_level("INFO", "taskq.worker")
    ledger = Ledger(lease, "default")
    ledger.add([ending(messages[0])])
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "settle", cut)
        with pytest.raises(OperationalError):
            ledger.work()
    _dropped(ledger, messages[1])
    assert "the database had committed that" in caplog.text
    assert "nothing is settled" not in caplog.text
    assert TaskRun.objects.filter(state="SUCCESS").count() == 2


def test_reason_why_an_end_is_not_settled_is_logged(
    lease: WorkerLease, messages: list[Claimed], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(lease, "default")
    taken, back, gone = messages[:3]
    Message.objects.filter(id=taken.id).update(token=workers.register("other"))
    Message.objects.filter(id=back.id).update(token="")
    Message.objects.filter(id=gone.id).delete()
    for message, reason in [
        (taken, "was taken over by another worker"),
        (back, "is back in its queue"),
        (gone, "was deleted"),
    ]:
        caplog.clear()
        _dropped(ledger, message)
        assert f"{message.task_id}] ended with SUCCESS, but its message {reason}" in caplog.text


def test_large_results_are_settled_in_smaller_batches(lease: WorkerLease, messages: list[Claimed]) -> None:
    ledger = Ledger(lease, "default")
    limit = for_alias("default").batch_bytes
    for message in messages[:3]:
        ledger.add([ending(message, result=f'"{"x" * (limit // 2)}"')])
    assert ledger.work()
    assert ledger.written == 1
    assert ledger.work()
    assert not ledger.work()
    assert ledger.written == 3


class _Locked(OperationalError):
    """Stands for the error of a statement that met a locked row."""


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Message ids whose rows are locked: what touches them gives up."""
    ids: set[int] = set()
    engine = for_alias("default")
    monkeypatch.setattr(engine, "gave_up", lambda error: isinstance(error, _Locked))
    monkeypatch.setattr(set_aside, "_FIRST_PAUSE", 0.0)

    def guard(module: Any, name: str, touched: Callable[..., Iterable[int]]) -> None:
        whole = getattr(module, name)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if not ids.isdisjoint(touched(*args, **kwargs)):
                raise _Locked("locked")
            return whole(*args, **kwargs)

        monkeypatch.setattr(module, name, guarded)

    guard(ledger_module, "settle", lambda token, settlements, alias: [s.message_id for s in settlements])
    guard(ledger_module.claim, "count_start", lambda token, message_ids, alias: message_ids)
    guard(ledger_module.requeue, "requeue", lambda token, message_ids, alias, **kwargs: message_ids)
    guard(ledger_module.progress, "write", lambda token, reports, alias: [r.message_id for r in reports])
    return ids


def _states() -> dict[str, str]:
    return dict(TaskRun.objects.values_list("task_id", "state"))


def test_settlement_that_meets_a_locked_row_waits_alone(
    lease: WorkerLease, messages: list[Claimed], locked: set[int]
) -> None:
    ledger = Ledger(lease, "default")
    locked.add(messages[2].id)
    for message in messages:
        ledger.add([ending(message)])
    assert not ledger.work()
    ended = {message.task_id for message in messages if message is not messages[2]}
    assert {task_id for task_id, state in _states().items() if state == "SUCCESS"} == ended
    assert (ledger.written, lease.held, ledger.done) == (4, 1, False)
    assert ledger.due() is not None
    locked.clear()
    wait_until(lambda: ledger.work() or ledger.done)
    assert set(_states().values()) == {"SUCCESS"}
    assert (ledger.written, lease.held, ledger.due()) == (5, 0, None)


def test_all_messages_of_a_batch_may_be_locked(lease: WorkerLease, messages: list[Claimed], locked: set[int]) -> None:
    ledger = Ledger(lease, "default")
    locked.update(message.id for message in messages)
    for message in messages:
        ledger.add([ending(message)])
    for _ in range(20):
        ledger.work()
    assert (ledger.written, lease.held) == (0, 5)
    locked.clear()
    wait_until(lambda: ledger.work() or ledger.done)
    assert (ledger.written, lease.held) == (5, 0)


def test_requeue_stays_behind_the_commit_of_a_locked_message(
    lease: WorkerLease, messages: list[Claimed], locked: set[int]
) -> None:
    ledger, answers = Ledger(lease, "default"), []
    locked.add(messages[0].id)
    ledger.count(messages[0].id, answers.append)
    ledger.requeue([messages[0].id, messages[1].id], [messages[0].id])
    ledger.work()
    assert answers == [None]
    assert set(Message.objects.filter(token="").values_list("id", flat=True)) == {messages[1].id}
    locked.clear()
    wait_until(lambda: ledger.work() or ledger.done)
    assert answers == [None, True]
    back = Message.objects.filter(id=messages[0].id)
    assert set(back.values_list("token", "deliveries")) == {("", 0)}


def test_report_that_meets_a_locked_row_is_written_later(
    lease: WorkerLease, messages: list[Claimed], locked: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_REPORTS_PAUSE", 0.0)
    ledger = Ledger(lease, "default")
    locked.add(messages[0].id)
    for message in messages[:2]:
        ledger.report(Progress(message.id, message.task_id, "a", "q", "BUSY", None, "application/json", 1e9, "w"))
    ledger.work()
    assert [_states()[message.task_id] for message in messages[:2]] == ["PENDING", "BUSY"]
    locked.clear()
    ledger.work()
    assert [_states()[message.task_id] for message in messages[:2]] == ["BUSY", "BUSY"]
    assert ledger.done
