from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from taskq.exceptions import TaskRevokedError, TimeoutError
from taskq.messages import values
from taskq.results import join_guard
from taskq.results.async_result import AsyncResult
from taskq.results.eager import EagerResult
from taskq.results.group_result import GroupResult
from taskq.results.result_set import ResultSet
from tests.support.in_task import inside_task

from .rows import failure, put, success


def of(*ids: str) -> GroupResult[Any]:
    return GroupResult("g", [AsyncResult(task_id) for task_id in ids])


# -- as a set


def test_result_set_adds_removes_and_compares_members() -> None:
    a, b = AsyncResult[int]("a"), AsyncResult[int]("b")
    results = ResultSet[int]([a])
    results.add(b)
    results.add(AsyncResult("a"))
    assert list(results) == [a, b]
    assert (results[1], len(results), bool(results)) == (b, 2, True)
    results.update([b, AsyncResult("c"), AsyncResult("c")])
    assert results == ResultSet([a, b, AsyncResult("c")])
    results.remove("c")
    results.discard("c")
    with pytest.raises(KeyError, match="c"):
        results.remove(AsyncResult("c"))
    assert repr(results) == "<ResultSet: [a, b]>"
    results.clear()
    assert not results
    assert results != [a]


def test_result_set_has_no_id() -> None:
    with pytest.raises(AttributeError):
        ResultSet[int]([AsyncResult("a")]).as_tuple()


def test_copy_and_pickle_keep_members() -> None:
    results = ResultSet[int]([AsyncResult("a"), GroupResult("g", [AsyncResult("b")])])
    for again in (copy.copy(results), copy.deepcopy(results), pickle.loads(pickle.dumps(results))):
        assert again == results


# -- values


@pytest.mark.django_db
def test_values_come_in_document_order_with_one_query() -> None:
    for number in (2, 0, 1):
        success(f"t{number}", number)
    results = of("t0", "t1", "t2")
    with CaptureQueriesContext(connection) as queries:
        assert results.get(timeout=1) == results.join() == results.join_native() == [0, 1, 2]
        assert list(results.iterate()) == [0, 1, 2]
        assert results.successful()
        assert results[1].get() == 1
    assert len(queries) == 1


@pytest.mark.django_db
def test_nested_groups_and_repeated_tasks_are_read_with_one_query() -> None:
    for number in range(3):
        success(f"t{number}", number)
    inner = GroupResult[int]("i", [AsyncResult("t1"), AsyncResult("t2")])
    results = GroupResult[int]("g", [inner, AsyncResult("t0"), AsyncResult("t1"), GroupResult("e")])
    with CaptureQueriesContext(connection) as queries:
        assert results.get() == [[1, 2], 0, 1, []]
    assert len(queries) == 1
    assert results.completed_count() == 4


@pytest.mark.django_db
def test_groups_nested_fifty_deep_give_nested_values() -> None:
    success("t", 1)
    results, expected = GroupResult[Any]("g", [AsyncResult("t")]), [1]
    for number in range(50):
        results, expected = GroupResult(f"g{number}", [results]), [expected]  # type: ignore[list-item]
    assert results.get() == expected
    assert results.ready()
    assert AsyncResult.from_tuple(results.as_tuple()) == results


@pytest.mark.django_db
def test_failed_member_is_raised_or_returned_without_propagate() -> None:
    success("a", 2)
    failure("b", ValueError("boom"))
    success("c", 4)
    results = of("a", "b", "c")
    assert (results.ready(), results.successful(), results.failed(), results.waiting()) == (True, False, True, False)
    assert results.completed_count() == 2
    with pytest.raises(ValueError, match="boom"):
        results.get()
    with pytest.raises(ValueError, match="boom"):
        results.maybe_throw()
    mixed = results.get(propagate=False)
    assert (mixed[0], repr(mixed[1]), mixed[2]) == (2, "ValueError('boom')", 4)


@pytest.mark.django_db
def test_failed_member_is_raised_before_the_others_end() -> None:
    put("a", "STARTED")
    failure("b", ValueError("boom"))
    failure("c", KeyError("later"))
    with pytest.raises(ValueError, match="boom"):
        of("a", "b", "c").get()


@pytest.mark.django_db
def test_revoked_member_is_neither_failed_nor_successful() -> None:
    failure("a", TaskRevokedError("revoked"), "REVOKED")
    results = of("a")
    assert results.ready()
    assert not results.failed()
    assert not results.successful()
    with pytest.raises(TaskRevokedError):
        results.get()


@pytest.mark.django_db
def test_unknown_ids_count_as_waiting() -> None:
    success("a", 2)
    results = of("a", "none")
    assert results.waiting()
    assert results.completed_count() == 1
    assert results.maybe_throw() is None  # type: ignore[func-returns-value]


def test_an_empty_group_is_ready() -> None:
    results = GroupResult[int]("g")
    assert results.ready()
    assert results.successful()
    assert not results.failed()
    assert results.get() == []
    assert asyncio.run(results.aget()) == []


@pytest.mark.django_db
def test_ignored_and_eager_members_have_their_values() -> None:
    results = GroupResult[int]("g", [AsyncResult("a", ignored=True), EagerResult("b", 2, "SUCCESS")])
    assert results.get() == [None, 2]
    failed = ResultSet[int]([EagerResult("b", ValueError("boom"), "FAILURE")])
    assert failed.failed()
    with pytest.raises(ValueError, match="boom"):
        failed.get()


@pytest.mark.django_db(transaction=True)
def test_join_calls_callback_for_the_members_that_ended_before_its_timeout() -> None:
    seen: list[Any] = []
    success("a", 1)
    with pytest.raises(TimeoutError):
        of("a", "waits").join(timeout=0.05, callback=lambda *got: seen.append(got))
    assert seen == [("a", 1)]
    failure("b", ValueError("boom"))
    with pytest.raises(ValueError, match="boom"):
        of("a", "b", "waits").join(timeout=0.05, callback=lambda *got: seen.append(got))


@pytest.mark.django_db
def test_get_and_maybe_throw_call_callback_for_each_member() -> None:
    success("a", 1)
    success("b", 2)
    seen: list[Any] = []
    of("a", "b").get(callback=lambda *got: seen.append(got))
    assert seen == [("a", 1), ("b", 2)]
    of("a", "b").maybe_throw(callback=lambda *got: seen.append(got))
    assert seen[2:] == seen[:2]


@pytest.mark.django_db
def test_join_within_a_task_is_refused_unless_allowed() -> None:
    success("a", 1)
    with inside_task():
        for ask in (of("a").join, lambda: list(of("a").iterate()), lambda: asyncio.run(of("a").ajoin())):
            with pytest.raises(RuntimeError, match="within a task"):
                ask()
        assert of("a").get(disable_sync_subtasks=False) == [1]
        with join_guard.allow_join_result():
            assert of("a").get() == [1]


@pytest.mark.django_db(transaction=True)
def test_timeout_of_get_is_one_for_all_members() -> None:
    success("a", 1)
    with pytest.raises(TimeoutError, match="and 1 more"):
        of("a", "b", "c").get(timeout=0.001)


@pytest.mark.django_db(transaction=True)
def test_iterate_that_is_closed_early_leaves_nobody_waiting() -> None:
    success("a", 1)
    values_of = of("a", "b").iterate()
    assert next(values_of) == 1
    values_of.close()


@pytest.mark.django_db
def test_ten_thousand_members_are_read_with_few_queries() -> None:
    from taskq.models import TaskRun

    from .rows import NOW

    TaskRun.objects.bulk_create(
        [TaskRun(task_id=f"t{n}", state="SUCCESS", result=str(n), created_at=NOW) for n in range(10_000)]
    )
    results = of(*(f"t{n}" for n in range(10_000)))
    with CaptureQueriesContext(connection) as queries:
        assert results.get() == list(range(10_000))
    assert len(queries) <= 11


# -- asynchronous


@pytest.mark.django_db(transaction=True)
def test_async_methods_of_result_sets_read_values_and_states() -> None:
    from asgiref.sync import async_to_sync

    success("a", 1)
    success("b", 2)
    results = of("a", "b")

    async def ask() -> None:
        assert await of("a", "b") == await of("a", "b").ajoin(timeout=1) == [1, 2]
        assert [value async for value in of("a", "b")] == [1, 2]
        assert await results.aready()
        assert await results.asuccessful()
        assert not await results.afailed()
        assert not await results.awaiting()
        assert await results.acompleted_count() == 2
        await results.aforget()
        assert await of("a").awaiting()

    async_to_sync(ask)()


@pytest.mark.django_db(transaction=True)
def test_awaiting_a_group_raises_failure_or_timeout() -> None:
    from asgiref.sync import async_to_sync

    failure("b", ValueError("boom"))

    async def ask() -> None:
        with pytest.raises(ValueError, match="boom"):
            await of("never", "b")
        assert isinstance((await of("b").aget(propagate=False))[0], ValueError)
        with pytest.raises(TimeoutError):
            await of("never").aget(timeout=0.001)

    async_to_sync(ask)()


# -- as a value


@pytest.mark.django_db
def test_group_result_as_a_return_value_is_stored_as_its_tuple() -> None:
    text, content_type = values.encode({"sent": of("a", "b")})
    data = values.decode(text, content_type)["sent"]
    assert data == [["g", None], [[["a", None], None], [["b", None], None]]]
    assert GroupResult.from_tuple(data) == of("a", "b")


# -- Celery's other names


@pytest.mark.django_db(transaction=True)
def test_iter_native_yields_ends_with_state_and_result() -> None:
    success("a", 1)
    failure("b", ValueError("no"))
    results = of("b", "a", "a")
    for _ in range(2):  # the second time from memory
        found = list(results.iter_native(timeout=5, no_ack=False, on_message=print))
        assert sorted(task_id for task_id, _ in found) == ["a", "a", "b"]
        ends = dict(found)
        assert (ends["a"]["status"], ends["a"]["result"], ends["a"]["task_id"]) == ("SUCCESS", 1, "a")
        assert (ends["b"]["status"], repr(ends["b"]["result"])) == ("FAILURE", "ValueError('no')")
    with pytest.raises(TimeoutError):
        list(of("never").iter_native(timeout=0))
    assert list(ResultSet[Any]([AsyncResult("i", ignored=True)]).iter_native()) == []


@pytest.mark.django_db(transaction=True)
def test_celerys_no_ack_and_on_message_are_accepted_and_ignored() -> None:
    success("a", 1)
    assert AsyncResult[int]("a").get(timeout=5, no_ack=True, on_message=print) == 1
    assert of("a").join(timeout=5, no_ack=True, on_message=print) == [1]
    assert list(of("a").iterate(timeout=5, no_ack=True, on_message=print)) == [1]
    assert of("a").supports_native_join
    assert AsyncResult[int]("a").supports_native_join
    assert EagerResult[int]("a", 1, "SUCCESS").get(no_ack=True, on_message=print) == 1
