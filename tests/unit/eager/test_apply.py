from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.test import TestCase, override_settings
from django.utils import translation

from taskq import asend_task, send_task, states, task
from taskq.exceptions import EncodeError, NotRegistered
from taskq.models import TaskRun
from taskq.records import Envelope
from taskq.results.async_result import AsyncResult
from taskq.results.eager import EagerResult


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def fail(message: str = "boom") -> None:
    raise ValueError(message)


@task(bind=True)
def parent(self: Any) -> tuple[str, bool, str | None]:
    child = add.delay(1, 2)
    return child.id, self.request.is_eager, self.request.root_id


@task(bind=True, max_retries=3)
def third_time(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=1000)
    return int(self.request.retries)


@task(bind=True)
def progress(self: Any) -> None:
    self.update_state(state="PROGRESS", meta={"done": 1})


@task
async def coroutine(name: str) -> Any:
    return await sync_to_async(TaskRun.objects.filter(name=name).count)()


@pytest.fixture
def eager() -> Any:
    with override_settings(TASKQ_ALWAYS_EAGER=True):
        yield


def test_apply_runs_here_and_returns_an_eager_result(sent: list[Envelope]) -> None:
    result = add.apply((2,), {"y": 3}, task_id="mine", queue="q")
    assert isinstance(result, EagerResult)
    assert (result.id, result.get(), result.state, result.queue) == ("mine", 5, "SUCCESS", "q")
    assert (result.name, result.args, result.kwargs, result.retries) == (add.name, [2], {"y": 3}, 0)
    assert result.date_done is not None
    assert sent == []


def test_apply_encodes_arguments_and_result_as_a_message_does() -> None:
    def describe(value: Any) -> Any:
        return value, type(value).__name__

    echo = task(name="echo")(describe)
    assert echo.apply(((1, 2),)).get() == [[1, 2], "list"]
    with pytest.raises(EncodeError):
        echo.apply((object(),))
    strange = task(name="strange")(lambda: object())
    assert isinstance(strange.apply().result, EncodeError)


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"serializer": "pickle"}])
def test_apply_works_with_compression_and_other_serializers(options: Any) -> None:
    with override_settings(TASKQ_ACCEPT_CONTENT=["json", "pickle"]):
        assert add.apply((1, 2), **options).get() == 3


def test_apply_returns_a_failure_and_raises_it_when_told_to() -> None:
    result = fail.apply()
    assert (result.state, repr(result.result)) == ("FAILURE", "ValueError('boom')")
    assert "raise ValueError(message)" in (result.traceback or "")
    with pytest.raises(ValueError, match="boom"):
        result.get()
    with pytest.raises(ValueError, match="boom") as caught:
        fail.apply(throw=True)
    assert caught.traceback[-1].name == "fail"
    with override_settings(TASKQ_EAGER_PROPAGATES=True):
        with pytest.raises(ValueError, match="boom"):
            fail.apply()
        assert fail.apply(throw=False).failed()


def test_throw_is_for_eager_calls_only(eager: None, sent: list[Envelope]) -> None:
    for call in (fail.apply_async, fail.s().apply_async, (fail.s() | add.s(1)).apply_async):
        with pytest.raises(ValueError, match="boom"):
            call(throw=True)
        assert call().failed()
    with pytest.raises(ValueError, match="boom"):
        send_task(fail.name, throw=True)
    with override_settings(TASKQ_ALWAYS_EAGER=False):
        fail.apply_async(throw=True)
    assert [envelope.name for envelope in sent] == [fail.name]


def test_always_eager_runs_all_sends_here(eager: None, sent: list[Envelope]) -> None:
    assert add.delay(1, 2).get() == 3
    assert [result.get() for result in add.delay_many([(1, 2), (3, 4)])] == [3, 7]
    assert send_task(add.name, (1, 2)).get() == 3
    assert isinstance(send_task("no.such").result, NotRegistered)
    assert sent == []


def test_eager_task_has_children_and_a_root(eager: None) -> None:
    result = parent.delay()
    child, is_eager, root = result.get()
    assert is_eager
    assert root == result.id
    assert [str(kid) for kid in result.children or ()] == [child]


def test_retries_run_at_once() -> None:
    result = third_time.apply()
    assert (result.get(), result.retries) == (2, 2)
    assert repr(task(name="r", bind=True, max_retries=1)(lambda self: self.retry(exc=KeyError(1))).apply().result) == (
        "KeyError(1)"
    )


def test_apply_of_an_expired_task_is_revoked() -> None:
    assert add.apply((1, 2), expires=-1).state == states.REVOKED


@pytest.mark.django_db
def test_apply_uses_the_callers_connection_and_transaction() -> None:
    def count() -> int:
        assert connection.in_atomic_block
        return TaskRun.objects.count()

    before = connection.connection
    assert task(name="count")(count).apply().get() == 0
    assert connection.connection is before


@pytest.mark.django_db
def test_apply_of_a_coroutine_uses_the_callers_connection() -> None:
    from django.utils import timezone

    TaskRun.objects.create(task_id="a", name="seen", created_at=timezone.now())
    assert coroutine.apply(("seen",)).get() == 1


def test_language_that_an_eager_task_activates_does_not_leak() -> None:
    task(name="german")(lambda: translation.activate("de")).apply()
    assert translation.get_language() != "de"


def test_adelay_runs_eagerly_in_a_coroutine(eager: None) -> None:
    async def main() -> list[Any]:
        return [(await add.adelay(1, 2)).result, (await asend_task(add.name, (3, 4))).result]

    from asgiref.sync import async_to_sync

    assert async_to_sync(main)() == [3, 7]


@pytest.mark.django_db(transaction=True)
def test_delay_on_commit_runs_eagerly_when_the_transaction_commits(eager: None) -> None:
    assert add.delay_on_commit(1, 2).get() == 3
    ran: list[int] = []
    note = task(name="note")(ran.append)
    with transaction.atomic():
        result = add.delay_on_commit(1, y=2)
        note.delay_on_commit(1)
        assert (result.state, result.ready(), result.result, result.children) == ("PENDING", False, None, None)
        assert (result.name, result.args, result.kwargs) == (add.name, [1], {"y": 2})
        assert ran == []
        with pytest.raises(RuntimeError, match="when the transaction commits"):
            result.get(timeout=1)
        with pytest.raises(EncodeError):
            add.delay_on_commit(object(), 2)  # type: ignore[arg-type]
    assert ran == [1]
    assert (result.state, result.get(timeout=1), result.children) == ("SUCCESS", 3, [])


@pytest.mark.django_db(transaction=True)
def test_delay_on_commit_of_a_failing_or_rolled_back_eager_task(eager: None) -> None:
    with transaction.atomic():
        failed = fail.delay_on_commit()
    assert (failed.state, repr(failed.result)) == ("FAILURE", "ValueError('boom')")
    with override_settings(TASKQ_EAGER_PROPAGATES=True), pytest.raises(ValueError, match="boom"), transaction.atomic():
        failed = fail.delay_on_commit("boom")
    assert failed.failed()
    with transaction.atomic():
        rolled_back = add.delay_on_commit(1, 2)
        transaction.set_rollback(True)
    assert rolled_back.state == "PENDING"


@pytest.mark.django_db
def test_eager_tasks_write_no_rows_by_default(eager: None) -> None:
    add.delay(1, 2)
    fail.delay()
    progress.delay()
    assert TaskRun.objects.count() == 0


@pytest.mark.django_db
def test_eager_results_are_stored_when_the_setting_says_so(eager: None) -> None:
    with override_settings(TASKQ_STORE_EAGER_RESULT=True), TestCase.captureOnCommitCallbacks(execute=True):
        good, bad = add.delay(1, 2), fail.delay()
        moved = progress.delay()
        quiet = add.apply_async((1, 2), ignore_result=True)
    assert AsyncResult[int](good.id).get(timeout=1) == 3
    assert AsyncResult[None](bad.id).state == "FAILURE"
    assert TaskRun.objects.get(task_id=bad.id).name == fail.name
    assert AsyncResult[None](moved.id).state == "SUCCESS"
    assert not TaskRun.objects.filter(task_id=quiet.id).exists()
