"""Threads that wait: one thread reads for all of them, with two connections."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, connections

from taskq.exceptions import TimeoutError
from taskq.results import listener, rows
from taskq.results.async_result import AsyncResult
from taskq.store import workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.settle import settle
from tests.support.envelopes import ending, envelope
from tests.support.waiting import wait_until

#: As many as wait at once; far fewer would do to see that each opens a connection.
THREADS = 60


def _without_connection(alias: str, task_id: str, timeout: float = 60.0) -> int:
    value = AsyncResult[int](task_id).get(timeout=timeout)
    assert connections[alias].connection is None
    return value


def _awaited(alias: str) -> int:
    watch = listener._listeners.get(alias)
    return len(watch._waiting) if watch and watch.alive else 0


def _end_all(count: int) -> None:
    token = workers.register("w")
    settle(token, [ending(message) for message in claim("taskq", count, token)])


def test_threads_that_wait_open_no_connection(alias: str) -> None:
    envelopes = [envelope() for _ in range(THREADS)]
    enqueue(envelopes)
    with ThreadPoolExecutor(THREADS) as pool:
        waits = [pool.submit(_without_connection, alias, e.task_id) for e in envelopes]
        wait_until(lambda: _awaited(alias) == THREADS)
        _end_all(THREADS)
        assert [wait.result(60) for wait in waits] == [3] * THREADS


def test_thread_without_connection_gets_what_is_so_now(alias: str) -> None:
    enqueue([envelope("a"), envelope("b")])
    token = workers.register("w")
    settle(token, [ending(message) for message in claim("taskq", 1, token)])
    with ThreadPoolExecutor(1) as pool:
        # The first get() starts the listener, the second finds it.
        for _ in range(2):
            assert pool.submit(_without_connection, alias, "a", 0.0).result(60) == 3
            with pytest.raises(TimeoutError):
                pool.submit(_without_connection, alias, "b", 0.0).result(60)


def test_coroutine_in_a_thread_without_connection_waits(alias: str) -> None:
    enqueue([envelope("a")])

    def run() -> int:
        return asyncio.run(AsyncResult[int]("a").aget(timeout=60))

    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(run)
        wait_until(lambda: _awaited(alias) == 1)
        _end_all(1)
        assert wait.result(60) == 3


def test_thread_hears_that_the_database_can_not_be_read(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(listener, "RETRY", 0.01)
    monkeypatch.setattr(rows, "read_final", fail)
    failed: list[BaseException] = []

    def get() -> None:
        try:
            AsyncResult[int]("a").get(timeout=60)
        except DatabaseError as error:
            failed.append(error)

    thread = threading.Thread(target=get)
    thread.start()
    thread.join(60)
    assert [str(error) for error in failed] == ["away"]
