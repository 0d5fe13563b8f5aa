"""Waiting for groups, with rows that other threads commit on Django's test database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection, transaction

from taskq.exceptions import TimeoutError
from taskq.results import callbacks, listener, rows, waiting
from taskq.results.async_result import AsyncResult
from taskq.results.group_result import GroupResult
from tests.support.waiting import await_until, wait_until

from .listening import in_thread, result_listeners, waited_for
from .rows import failure, success

pytestmark = pytest.mark.django_db(transaction=True)


def of(*ids: str) -> GroupResult[Any]:
    return GroupResult("g", [AsyncResult(task_id) for task_id in ids])


def test_iterate_yields_each_value_once_all_before_it_are_there() -> None:
    got: list[int] = []
    thread = in_thread(lambda: got.extend(of("a", "b", "c").iterate(timeout=60)))
    wait_until(waited_for)
    success("b", 2)
    wait_until(lambda: waited_for() == 2)
    assert got == []
    success("a", 1)
    wait_until(lambda: got == [1, 2])
    success("c", 3)
    thread.join()
    assert got == [1, 2, 3]


def test_failed_member_ends_the_wait_for_the_group() -> None:
    errors: list[BaseException] = []

    def wait() -> None:
        with pytest.raises(ValueError, match="boom") as caught:
            of("a", "b").get(timeout=60)
        errors.append(caught.value)

    thread = in_thread(wait)
    wait_until(waited_for)
    failure("b", ValueError("boom"))
    thread.join()
    assert errors


def test_look_at_many_members_is_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"t{number}" for number in range(300)]
    looks: list[int] = []
    finished = rows.read_final
    monkeypatch.setattr(rows, "read_final", lambda wanted, *rest: looks.append(len(wanted)) or finished(wanted, *rest))
    got: list[int] = []
    thread = in_thread(lambda: got.extend(of(*ids).get(timeout=60)))
    wait_until(waited_for)
    with transaction.atomic():
        for number, task_id in enumerate(ids):
            success(task_id, number)
    thread.join()
    assert got == list(range(300))
    assert max(looks) == 300


def test_arrivals_give_each_row_once() -> None:
    success("a", 1)
    arriving = waiting.arrivals(["a", "b"], 20)
    assert list(next(arriving)) == ["a"]
    success("b", 2)
    assert [list(rows) for rows in arriving] == [["b"]]
    assert waited_for() == 0


def test_on_interval_is_called_while_a_group_is_waited_for() -> None:
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            success("a", 1)

    assert of("a").get(timeout=60, interval=0.001, on_interval=tick) == [1]
    assert len(ticks) >= 3


def test_waiting_for_a_group_in_a_transaction_is_an_error() -> None:
    success("a", 1)
    with transaction.atomic():
        assert of("a").get() == [1]
        with pytest.raises(RuntimeError, match=r"transaction\.atomic"):
            of("a", "b").get()
        failure("c", ValueError("boom"))
        with pytest.raises(ValueError, match="boom"):
            of("a", "b", "c").get()


def test_timeout_of_zero_raises_at_once_for_a_group() -> None:
    with pytest.raises(TimeoutError):
        of("a").get(timeout=0)
    with pytest.raises(TimeoutError):
        list(of("a").iterate(timeout=0))
    assert waited_for() == 0


# -- asynchronous


def test_async_for_yields_values_as_they_arrive() -> None:
    got: list[int] = []

    async def gather() -> None:
        async for value in of("a", "b"):
            got.append(value)

    thread = in_thread(lambda: async_to_sync(gather)())
    wait_until(waited_for)
    success("a", 1)
    wait_until(lambda: got == [1])
    success("b", 2)
    thread.join()
    assert got == [1, 2]


def test_cancelled_aget_leaves_nobody_waiting() -> None:
    async def cancel() -> None:
        task = asyncio.ensure_future(of("a").aget())
        await await_until(waited_for)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_to_sync(cancel)()
    assert waited_for() == 0


def test_aiterate_that_is_left_early_leaves_nobody_waiting() -> None:
    success("a", 1)

    async def leave() -> None:
        values = of("a", "b").aiterate()
        async for _ in values:
            break
        await values.aclose()

    async_to_sync(leave)()
    assert waited_for() == 0


# -- then


def called(ask: Callable[[Callable[[Any], object]], object]) -> threading.Event:
    event = threading.Event()
    ask(lambda result: event.set())
    return event


def test_then_calls_back_when_the_task_ends() -> None:
    seen: list[Any] = []
    event = threading.Event()

    def callback(result: AsyncResult[int]) -> None:
        seen.append((threading.current_thread().name, result.get(), result.state))
        event.set()

    AsyncResult[int]("a").then(callback)
    wait_until(waited_for)
    assert not event.is_set()
    success("a", 1)
    assert event.wait(60)
    assert seen == [("taskq-then_0", 1, "SUCCESS")]


def test_then_of_an_ended_task_calls_back_at_once() -> None:
    result = success("a", 1)
    assert called(result.then).wait(60)
    assert result.get() == 1
    event = called(result.then)
    assert event.is_set()


def test_then_of_a_group_calls_back_when_all_members_ended() -> None:
    results = of("a", "b")
    event = called(results.then)
    success("a", 1)
    success("b", 2)
    assert event.wait(60)
    assert called(GroupResult[int]("e").then).is_set()


def test_then_of_a_failed_task_calls_on_error() -> None:
    failure("a", ValueError("boom"))
    wrong, right = threading.Event(), threading.Event()
    AsyncResult[int]("a").then(lambda r: wrong.set(), on_error=lambda r: right.set())
    assert right.wait(60)
    assert not wrong.is_set()


def test_then_asked_in_a_transaction_calls_back_after_commit() -> None:
    with transaction.atomic():
        event = called(AsyncResult[int]("a").then)
        success("a", 1)
    assert event.wait(60)


def test_exception_in_a_then_callback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    success("a", 1)
    AsyncResult[int]("a").then(lambda result: 1 / 0)
    wait_until(lambda: "given to then() raised" in caplog.text)


def test_then_callback_is_called_once() -> None:
    calls: list[Any] = []
    watched = callbacks._CallbackWaiter(["a"], calls.append, connection.alias)
    watched.take({"a": success("a", 1).task_record})  # type: ignore[dict-item]
    watched.submit_if_done()
    watched.submit_if_done()
    wait_until(lambda: calls)
    assert watched.done()
    assert len(calls) == 1


def test_listener_pauses_for_as_long_as_its_last_query_took(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = listener.ResultListener(connection.alias)
    slept: list[float] = []
    monkeypatch.setattr(listener.time, "sleep", slept.append)
    monkeypatch.setattr(listener.time, "monotonic", lambda: 100.1)
    watch._cost = 0.1
    watch._throttle(100.0)
    watch._cost = 0.0
    watch._throttle(100.0)
    assert slept == [pytest.approx(0.1)]


def test_watch_whose_first_look_fails_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = in_thread(lambda: AsyncResult[int]("a").get(timeout=60))
    wait_until(lambda: any(watch._listening for watch in result_listeners()))
    finished = rows.read_final

    def failing(ids: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            raise OperationalError("gone")
        return finished(ids)

    monkeypatch.setattr(rows, "read_final", failing)
    with pytest.raises(OperationalError):
        callbacks.watch(["b"], lambda rows: None)
    assert waited_for() == 1
    success("a", 1)
    thread.join()
