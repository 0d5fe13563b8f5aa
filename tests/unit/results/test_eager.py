from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq.exceptions import TimeoutError
from taskq.results.async_result import AsyncResult
from taskq.results.eager import EagerResult


def test_eager_result_of_a_success_has_value_and_fields() -> None:
    result = EagerResult[int]("a", 4, "SUCCESS", name="shop.add", args=(2, 2), kwargs={"x": 1}, retries=1, queue="q")
    assert isinstance(result, AsyncResult)
    assert repr(result) == "<EagerResult: a>"
    assert result.get(timeout=1) == result.result == result.info == result.wait() == 4
    assert asyncio.run(result.aget()) == 4
    assert (result.state, result.status) == ("SUCCESS", "SUCCESS")
    assert result.ready()
    assert result.successful()
    assert not result.failed()
    assert result.exists()
    assert (result.name, result.args, result.kwargs, result.retries) == ("shop.add", [2, 2], {"x": 1}, 1)
    assert (result.queue, result.worker, result.children, result.task_record) == ("q", None, [], None)
    assert result.TimeoutError is TimeoutError
    assert result == AsyncResult("a")


def test_eager_result_of_a_failure_raises_the_same_exception() -> None:
    error = ValueError("boom")
    result = EagerResult[Any]("a", error, "FAILURE", "Traceback")
    with pytest.raises(ValueError, match="boom") as caught:
        result.get()
    assert caught.value is error
    assert result.get(propagate=False) is error
    assert result.failed()
    assert result.traceback == "Traceback"


def test_eager_result_of_a_retry_returns_its_exception() -> None:
    error = ValueError("boom")
    assert EagerResult[ValueError]("a", error, "RETRY").get() is error


def test_eager_result_can_be_awaited() -> None:
    async def run() -> int:
        return await EagerResult[int]("a", 4, "SUCCESS")

    assert asyncio.run(run()) == 4


def test_get_of_an_eager_result_calls_callback() -> None:
    seen: list[tuple[str, int]] = []
    EagerResult[int]("a", 4, "SUCCESS").get(callback=lambda *got: seen.append(got))
    assert seen == [("a", 4)]


def test_forget_and_revoke_do_nothing() -> None:
    result = EagerResult[int]("a", 4, "SUCCESS")
    result.forget()
    result.revoke(terminate=True)
    assert result.get() == 4
