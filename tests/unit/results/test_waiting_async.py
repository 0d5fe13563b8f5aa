"""Waiting in coroutines, with rows that other threads commit on Django's test database."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import async_to_sync
from django.db import connection

from taskq.exceptions import TimeoutError
from taskq.results.async_result import AsyncResult
from tests.support.waiting import await_until

from .listening import put, waited_for

pytestmark = pytest.mark.django_db(transaction=True)


def test_await_returns_when_the_tasks_end() -> None:
    async def main() -> list[int]:
        waits = [AsyncResult[int](name).aget(timeout=60) for name in ("a", "b", "b")]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await await_until(lambda: waited_for() >= 2)
        await asyncio.to_thread(_put_and_close, "a")
        await asyncio.to_thread(_put_and_close, "b")
        return await asyncio.gather(*tasks)

    assert async_to_sync(main)() == [4, 4, 4]


def test_await_times_out_and_can_be_cancelled() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await AsyncResult[int]("a").aget(timeout=0.02)
        task = asyncio.ensure_future(AsyncResult[int]("a").aget())
        await await_until(waited_for)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_to_sync(main)()
    assert waited_for() == 0


def _put_and_close(task_id: str) -> None:
    try:
        put(task_id)
    finally:
        connection.close()
