from __future__ import annotations

import copy
import pickle
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from taskq import exceptions, states
from taskq.messages import values
from taskq.models import TaskRun
from taskq.results import backend
from taskq.results.async_result import AsyncResult
from tests.support.in_task import inside_task

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def run(task_id: str = "t1", state: str = states.SUCCESS, **fields: Any) -> TaskRun:
    return TaskRun.objects.create(task_id=task_id, state=state, created_at=NOW, **fields)


def failure(exc: BaseException, state: str = states.FAILURE, **fields: Any) -> AsyncResult[Any]:
    row = run(state=state, result=values.encode_exception(exc), **fields)
    return AsyncResult(row.task_id)


class Calls(backend.ResultBackend):
    """A backend that only writes down what is asked of it."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def fetch(self, ids: Any, columns: Any) -> dict[str, TaskRun]:
        return {}

    def forget(self, ids: Any) -> None:
        self.made.append(("forget", list(ids)))

    def revoke(self, ids: Any, terminate: str) -> None:
        self.made.append(("revoke", list(ids), terminate))


@pytest.fixture
def calls() -> Iterator[Calls]:
    made = Calls()
    before = backend.use(made)
    yield made
    backend.use(before)


# -- as an object


def test_async_result_is_equal_and_hashed_by_id() -> None:
    result = AsyncResult[int]("abc")
    assert (result.id, result.task_id, str(result)) == ("abc", "abc", "abc")
    assert repr(result) == "<AsyncResult: abc>"
    assert result == AsyncResult[int]("abc")
    assert result == "abc"
    assert result != AsyncResult[int]("x")
    assert result != 1
    assert len({result, AsyncResult[int]("abc")}) == 1
    assert AsyncResult.TimeoutError is exceptions.TimeoutError
    assert AsyncResult[int](uuid.UUID(int=1)).id == str(uuid.UUID(int=1))  # type: ignore[arg-type]


def test_async_result_needs_an_id() -> None:
    with pytest.raises(ValueError, match="id of a task"):
        AsyncResult[int]("")


def test_async_result_becomes_tuple_and_list_with_parents() -> None:
    result = AsyncResult[int]("c", AsyncResult[int]("b", AsyncResult[int]("a")))
    assert result.as_tuple() == (("c", (("b", (("a", None), None)), None)), None)
    assert result.as_list() == ["c", "b", "a"]
    again = AsyncResult.from_tuple(result.as_tuple())
    assert again.as_tuple() == result.as_tuple()
    assert AsyncResult.from_tuple("x") == "x"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copy_and_pickle_keep_parent_and_ignored(again: Any) -> None:
    result = again(AsyncResult[int]("b", AsyncResult[int]("a"), ignored=True))
    assert result.as_list() == ["b", "a"]
    assert result.ignored


def test_async_result_has_no_finalizer() -> None:
    assert not hasattr(AsyncResult, "__del__")


# -- reading


@pytest.mark.django_db
def test_result_of_an_unknown_id_is_pending() -> None:
    result = AsyncResult[Any]("this-id-does-not-exist")
    assert result.state == result.status == "PENDING"
    assert result.result is None
    assert result.info is None
    assert result.traceback is None
    assert not result.ready()
    assert not result.exists()
    assert not result.successful()
    assert not result.failed()
    assert result.children is None
    assert result.task_record is None
    assert (result.name, result.args, result.kwargs, result.worker, result.retries, result.date_done) == (None,) * 6


@pytest.mark.django_db
def test_result_of_a_success_has_value_and_fields_of_the_run() -> None:
    run(
        result="4",
        name="shop.add",
        queue="hipri",
        worker="w@h",
        retries=2,
        arguments='[[2, 2], {"a": 1}]',
        finished_at=NOW,
    )
    result = AsyncResult[int]("t1")
    assert result.get(timeout=1) == 4
    assert result.successful()
    assert result.ready()
    assert not result.failed()
    assert result.exists()
    assert result.children == []
    assert (result.name, result.queue, result.worker, result.retries) == ("shop.add", "hipri", "w@h", 2)
    assert (result.args, result.kwargs, result.date_done) == ([2, 2], {"a": 1}, NOW)
    record = result.task_record
    assert record is not None
    assert record.get_deferred_fields() == set()


@pytest.mark.django_db
def test_row_in_a_final_state_is_read_once() -> None:
    run(result="[1]")
    result = AsyncResult[list[int]]("t1")
    with CaptureQueriesContext(connection) as queries:
        assert result.get() == [1]
        assert result.get() is result.result
        assert result.state == "SUCCESS"
        assert result.successful()
        assert result.name == ""
    assert len(queries) == 1
    assert "arguments" not in queries[0]["sql"]


@pytest.mark.django_db
def test_row_in_a_state_that_is_not_final_is_read_each_time() -> None:
    row = run(state="STARTED", result='{"pid": 1, "hostname": "w@h"}')
    result = AsyncResult[Any]("t1")
    assert result.info == {"pid": 1, "hostname": "w@h"}
    TaskRun.objects.filter(pk=row.pk).update(state="PROGRESS", result='{"done": 50}')
    assert result.state == "PROGRESS"
    assert result.info == {"done": 50}
    assert result.maybe_throw() == {"done": 50}
    assert not result.ready()


@pytest.mark.django_db
def test_get_of_a_failed_task_raises_its_exception() -> None:
    result = failure(TypeError("add() missing 1 required positional argument: 'y'"), traceback="Traceback: ...")
    with pytest.raises(TypeError, match="missing 1 required") as caught:
        result.get(timeout=1)
    assert "Traceback: ..." in str(caught.value.__cause__)
    returned = result.get(propagate=False)  # type: ignore[func-returns-value, unused-ignore]
    assert isinstance(returned, TypeError)
    assert result.result is returned
    assert result.failed()
    assert not result.successful()
    assert result.state == "FAILURE"
    assert result.traceback == "Traceback: ..."
    with pytest.raises(TypeError):
        result.maybe_reraise()


@pytest.mark.django_db
def test_each_get_of_a_failed_task_raises_a_new_exception() -> None:
    result = failure(ValueError("boom"))
    raised = []
    for _ in range(2):
        with pytest.raises(ValueError, match="boom") as caught:
            result.get()
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert result.result.__traceback__ is None


@pytest.mark.django_db
@pytest.mark.parametrize("word", ["revoked", "expired", "terminated"])
def test_get_of_a_revoked_task_raises_with_its_reason(word: str) -> None:
    result = failure(exceptions.TaskRevokedError(word), state="REVOKED")
    with pytest.raises(exceptions.TaskRevokedError, match=word):
        result.get()
    assert result.ready()
    assert not result.failed()


@pytest.mark.django_db
def test_get_of_a_revoked_task_without_a_stored_reason_raises() -> None:
    run(state="REVOKED")
    with pytest.raises(exceptions.TaskRevokedError, match="revoked"):
        AsyncResult[Any]("t1").get()


@pytest.mark.django_db
def test_retry_shows_the_exception_and_raises_nothing() -> None:
    result = failure(KeyError("orig"), state="RETRY")
    assert isinstance(result.result, KeyError)
    assert isinstance(result.maybe_throw(), KeyError)
    assert not result.ready()


@pytest.mark.django_db
def test_get_calls_callback_with_id_and_value() -> None:
    run(result="4")
    seen: list[Any] = []
    AsyncResult[int]("t1").get(callback=lambda task_id, value: seen.append((task_id, value)))
    assert seen == [("t1", 4)]


def test_get_of_an_ignored_result_is_none_at_once() -> None:
    assert AsyncResult[int]("t1", ignored=True).get() is None


@pytest.mark.django_db
def test_get_within_a_task_is_refused_unless_allowed() -> None:
    run(result="4")
    result = AsyncResult[int]("t1")
    with inside_task():
        with pytest.raises(RuntimeError, match="within a task"):
            result.get()
        assert result.get(disable_sync_subtasks=False) == 4


@pytest.mark.django_db
def test_children_are_read_from_the_row() -> None:
    run(children=values.encode_children([AsyncResult[int]("c1"), AsyncResult[int]("c2")]))
    children = AsyncResult[Any]("t1").children
    assert children == [AsyncResult("c1"), AsyncResult("c2")]


@pytest.mark.django_db
@pytest.mark.parametrize("text", [None, "no json", "[1]", "4"])
def test_args_that_can_not_be_decoded_are_none(text: str | None) -> None:
    run(arguments=text)
    assert AsyncResult[Any]("t1").args is None


@pytest.mark.django_db
def test_results_are_found_by_ids_of_any_characters() -> None:
    for task_id in ("ü" * 255, "a'b", "A", "a"):
        run(task_id, result=values.encode(task_id)[0])
    for task_id in ("ü" * 255, "a'b", "A", "a"):
        assert AsyncResult[str](task_id).get() == task_id


# -- changing


def test_forget_includes_the_parents(calls: Calls) -> None:
    AsyncResult[int]("b", AsyncResult[int]("a")).forget()
    assert calls.made == [("forget", ["b", "a"])]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ""),
        ({"signal": "KILL"}, ""),
        ({"terminate": True}, "SIGTERM"),
        ({"terminate": True, "signal": "kill"}, "SIGKILL"),
        ({"terminate": True, "signal": "SIGUSR1"}, "SIGUSR1"),
        ({"terminate": True, "signal": 9}, "SIGKILL"),
    ],
)
def test_revoke_passes_the_signal_to_terminate_with(calls: Calls, arguments: dict[str, Any], expected: str) -> None:
    AsyncResult[int]("a").revoke(**arguments)
    assert calls.made == [("revoke", ["a"], expected)]


def test_revoke_with_an_unknown_signal_is_refused(calls: Calls) -> None:
    with pytest.raises(ValueError, match="NONSENSE"):
        AsyncResult[int]("a").revoke(terminate=True, signal="NONSENSE")
    assert calls.made == []


@pytest.mark.django_db
def test_forget_deletes_the_row() -> None:
    run(result="4")
    result = AsyncResult[int]("t1")
    assert result.get() == 4
    result.forget()
    assert result.state == "PENDING"
    assert not result.exists()


# -- asynchronous


async def _read_all() -> None:
    result = AsyncResult[int]("t1")
    assert await result == 4
    assert await AsyncResult[int]("t1").aget(timeout=1) == 4
    other = AsyncResult[int]("t1")
    assert await other.astate() == "SUCCESS"
    assert await other.aresult() == 4
    assert await other.aready()
    assert await other.asuccessful()
    assert not await other.afailed()
    assert await other.aexists()
    await other.aforget()
    assert not await AsyncResult[int]("t1").aexists()


@pytest.mark.django_db(transaction=True)
def test_async_methods_of_async_result_read_and_forget() -> None:
    from asgiref.sync import async_to_sync

    run(result="4")
    async_to_sync(_read_all)()
