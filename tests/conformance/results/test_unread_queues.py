"""A wait for a task in a queue from which nobody takes says so, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from taskq import chain, signature
from taskq.models import Worker
from taskq.results import listener, unread
from taskq.results.async_result import AsyncResult
from taskq.store import readers, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from tests.support.envelopes import envelope
from tests.support.waiting import await_until, wait_until

Wait = Callable[[str], None]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "PATIENCE", 0.0)
    monkeypatch.setattr(unread, "_told", set())
    monkeypatch.setattr(listener, "SLOW_LOOK", 0.02)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was found in each look at the queues."""
    found: list[dict[str, str]] = []
    original = readers.unread

    def look(*args: Any) -> dict[str, str]:
        found.append(original(*args))
        return found[-1]

    monkeypatch.setattr(readers, "unread", look)
    return found


@pytest.fixture
def wait_for(looked: list[Any]) -> Wait:
    """Wait for a task until the listener has looked at its queue."""

    def wait(task_id: str) -> None:
        before = len(looked)

        def tick() -> None:
            if len(looked) > before:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            AsyncResult[int](task_id).get(timeout=60, interval=0.01, on_interval=tick)

    return wait


def test_wait_says_once_that_nobody_takes_from_the_queue(
    alias: str, wait_for: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue([envelope("a", queue="big mails"), envelope("b", queue="big mails"), envelope("c", queue="x", delay=60)])
    workers.register("w", info={"queues": ["taskq"]})
    for task_id in "abc":
        wait_for(task_id)
    wait_until(lambda: len(caplog.records) == 2)
    assert {(record.name, record.levelname) for record in caplog.records} == {("taskq", "WARNING")}
    assert [record.getMessage() for record in caplog.records] == [
        "Task a waits in the queue 'big mails', and no living worker takes from it. Start one: "
        "python manage.py taskworker -Q 'big mails'",
        "Task c waits in the queue 'x', and no living worker takes from it. Start one: "
        "python manage.py taskworker -Q x",
    ]


def test_nothing_is_said_of_a_task_that_runs_or_of_a_queue_that_is_read(
    alias: str, wait_for: Wait, looked: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    enqueue([envelope("runs", queue="gone")])
    assert len(claim("gone", 1, workers.register("w", info={"queues": ["mails"]}))) == 1
    enqueue([envelope("waits", queue="mails")])
    for task_id in ("runs", "waits", "unknown"):
        wait_for(task_id)
    assert looked == [{}, {}, {}]
    assert not caplog.records


def test_worker_that_is_silent_for_longer_than_its_lease_reads_nothing(alias: str) -> None:
    enqueue([envelope("a", queue="mails")])
    token = workers.register("w", info={"queues": ["mails"]})
    assert readers.unread(["a"]) == {}
    Worker.objects.using(alias).filter(token=token).update(lease=-1.0)
    assert readers.unread(["a"]) == {"mails": "a"}


def test_coroutine_is_told_too(alias: str, looked: list[Any]) -> None:
    enqueue([envelope("a", queue="mails")])

    async def run() -> None:
        waiting = asyncio.ensure_future(AsyncResult[int]("a").aget(timeout=60))
        await await_until(lambda: looked or waiting.done(), what="the waiter to look for the queue")
        waiting.cancel()

    asyncio.run(run())
    assert looked == [{"mails": "a"}]


def test_end_of_a_chain_waits_for_the_queue_of_its_first_task(alias: str) -> None:
    last = chain(signature("first", queue="nobody's"), signature("last")).apply_async()
    assert list(readers.unread([last.id])) == ["nobody's"]
