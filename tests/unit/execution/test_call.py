"""Coroutine functions as tasks: one event loop a thread, soft limits, and a clean loop for the next."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from taskq import states, task
from taskq.exceptions import SoftTimeLimitExceeded
from taskq.messages.values import decode_exception
from taskq.records import Envelope
from taskq.worker.pools.soft_limits import signal_limit
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]


def define(function: Any, **options: Any) -> Any:
    return task(name="coroutine", **options)(function)


def test_a_coroutine_runs_on_the_thread_s_one_loop(sent: list[Envelope], worker: Worker) -> None:
    loops: list[Any] = []

    async def double(x: int) -> int:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return x * 2

    define(double).delay(4)
    assert worker.run().result == "8"
    assert worker.run().result == "8"
    thread = threading.Thread(target=worker.run)
    thread.start()
    thread.join()
    assert loops[0] is loops[1]
    assert loops[2] is not loops[0]


def test_exception_and_cancellation_of_a_coroutine_are_failures(sent: list[Envelope], worker: Worker) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("boom")

    define(fail).delay()
    outcome = worker.run()
    assert repr(decode_exception(outcome.result)) == "ValueError('boom')"
    assert "in fail" in (outcome.traceback or "")

    async def cancelled() -> None:
        raise asyncio.CancelledError

    define(cancelled).delay()
    outcome = worker.run()
    assert outcome.state == states.FAILURE
    assert "was cancelled" in (outcome.result or "")


def test_coroutine_has_its_request_and_sends_children(sent: list[Envelope], worker: Worker) -> None:
    child = task(name="child")(lambda: None)

    async def parent(self: Any) -> list[str]:
        result = await child.adelay()
        return [self.request.id, result.id]

    define(parent, bind=True).delay()
    outcome = worker.run()
    assert json.loads(outcome.result or "") == [sent[0].task_id, sent[1].task_id]
    assert sent[1].headers["parent_id"] == sent[0].task_id
    assert sent[1].task_id in (outcome.children or "")


def test_coroutine_can_retry(sent: list[Envelope], worker: Worker) -> None:
    async def again(self: Any) -> None:
        raise self.retry(countdown=5)

    define(again, bind=True).delay()
    assert worker.run().state == states.RETRY


@pytest.mark.parametrize("caught", [True, False])
def test_soft_limit_interrupts_a_waiting_coroutine(sent: list[Envelope], worker: Worker, caught: bool) -> None:
    async def wait() -> str:
        with contextlib.suppress(SoftTimeLimitExceeded) if caught else contextlib.nullcontext():
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return "tidied up"

    define(wait).delay()
    outcome = worker.run(soft_limit=signal_limit, soft_time_limit=0.05)
    if caught:
        assert outcome.result == '"tidied up"'
    else:
        assert isinstance(decode_exception(outcome.result), SoftTimeLimitExceeded)


def test_background_asyncio_task_is_cancelled_when_the_run_ends(sent: list[Envelope], worker: Worker) -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("background")

    async def leave(keep: list[Any]) -> None:
        keep.append(asyncio.create_task(background()))
        await asyncio.sleep(0)

    define(leave).delay([])
    assert worker.run().state == states.SUCCESS
    assert ended == ["background"]


@pytest.mark.django_db(transaction=True)
def test_sync_to_async_code_has_one_thread_whose_connections_are_closed(sent: list[Envelope], worker: Worker) -> None:
    seen: list[Any] = []

    def query() -> None:
        connection.ensure_connection()
        seen.append((threading.current_thread(), connection.connection))

    async def run() -> None:
        await sync_to_async(query)()

    define(run).delay()
    worker.run()
    worker.run()
    (first, one), (second, other) = seen
    assert first is second
    assert first is not threading.current_thread()
    assert one is not other  # CONN_MAX_AGE is 0
