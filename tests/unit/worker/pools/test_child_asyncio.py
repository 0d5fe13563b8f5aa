"""The child of the pool asyncio, in a thread of this process: what it answers when something around a task fails."""

from __future__ import annotations

import asyncio
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.test import override_settings
from kombu.asynchronous import Hub

from taskq import Task, task
from taskq.execution import coroutines, isolation
from taskq.execution.inline import delivery_of
from taskq.handover import Delivery, Outcome
from taskq.messages import protocol
from taskq.worker.pools import child_threads, frames, shared_children
from taskq.worker.pools.child_asyncio import AsyncioChild
from taskq.worker.pools.child_connection import Answer, ChildConnection, CutShort
from tests.unit.tasks.fixtures import registry

__all__ = ["registry"]


class Main:
    """The main process's side of the child."""

    def __init__(self) -> None:
        self.connection = ChildConnection(Hub())
        options = frames.ChildOptions(0, "test", 0, 0, "asyncio", "test")
        self.child = AsyncioChild(self.connection.child_sock, self.connection.child_fds[1], options)
        self.answers: list[Answer] = []

    def hand_over(self, *deliveries: Delivery) -> None:
        self.connection.hand_over(deliveries)

    def until_started(self) -> None:
        """Wait until the child has taken all permits."""
        end = time.monotonic() + 60
        while self.connection.started() < len(self.connection.pending):
            assert time.monotonic() < end
            time.sleep(0.001)

    def until_answered(self, count: int) -> list[Answer]:
        """Return the answers once there are ``count`` besides that the child is up."""
        end = time.monotonic() + 60
        while len(self.answers) <= count:
            assert time.monotonic() < end, self.answers
            select.select([self.connection.fileno()], [], [], 0.1)
            self.connection.receive()
            self.answers += self.connection.arrived
            self.connection.arrived.clear()
        return self.answers[1:]


@contextmanager
def working(**settings: Any) -> Iterator[Main]:
    with override_settings(**{f"TASKQ_{name}": value for name, value in settings.items()}):
        main = Main()
        thread = threading.Thread(target=main.child.work, daemon=True)
        thread.start()
        try:
            yield main
        finally:
            main.connection.ask_to_stop()
            thread.join(60)
            main.connection.close()
        assert not thread.is_alive()


_jobs = iter(range(1, 1000))


def message(name: str, *args: Any, **changes: Any) -> Delivery:
    found = delivery_of(protocol.build(name=name, args=args, kwargs={}, queue="", serializer="json"))
    for field, value in {"job": next(_jobs), **changes}.items():
        setattr(found, field, value)
    return found


def states(answers: list[Answer]) -> dict[int, str]:
    """Say how each job has ended."""
    return {
        one.job: one.state if isinstance(one, Outcome) else "cut short"
        for one in answers
        if isinstance(one, Outcome | CutShort)
    }


def test_cache_that_can_not_be_closed_costs_no_outcome(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @task(name="c.quick")
    async def quick() -> None:
        await asyncio.sleep(0)

    def fail(seat: isolation.Seat) -> None:
        raise OSError("the cache is gone")

    monkeypatch.setattr(isolation.Seat, "tidy", fail)
    first, second = message("c.quick"), message("c.quick")
    with working() as main:
        main.hand_over(first, second)
        assert states(main.until_answered(2)) == {first.job: "SUCCESS", second.job: "SUCCESS"}
    assert "could not be tidied up" in caplog.text


class Held:
    """A task ``c.hold`` that keeps the only thread until the end of the test."""

    def __init__(self) -> None:
        self.has_thread, self.let_go = threading.Event(), threading.Event()

        @task(name="c.hold")
        def hold() -> None:
            self.has_thread.set()
            assert self.let_go.wait(60)


@pytest.mark.parametrize("name", ["c.sync", "c.begins", "c.concludes"])
def test_task_that_waits_for_a_thread_can_be_ended_at_once(name: str) -> None:
    held = Held()
    ran: list[str] = []

    @task(name="c.sync")
    def sync() -> None:
        ran.append("sync")

    class Begins(Task[Any, Any]):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            ran.append("before_start")

    @task(name="c.begins", base=Begins)
    async def begins() -> None:
        ran.append("begins")

    class Concludes(Task[Any, Any]):
        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            ran.append("on_success")

    @task(name="c.concludes", base=Concludes)
    async def concludes() -> None:
        pass

    first, second = message("c.hold"), message(name)
    with working(ASYNCIO_THREADS=1) as main:
        main.hand_over(first)
        assert held.has_thread.wait(60)
        main.hand_over(second)
        main.until_started()
        main.connection.end_task(second.job, "hard")
        try:
            assert states(main.until_answered(1)) == {second.job: "cut short"}
        finally:
            held.let_go.set()
        assert states(main.until_answered(2))[first.job] == "SUCCESS"
    assert ran == []


def test_task_fails_alone_if_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    @task(name="c.sync")
    def sync() -> None:
        pass

    @task(name="c.quick")
    async def quick() -> None:
        pass

    def refuse(number: int) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(child_threads, "_Thread", refuse)
    first, second = message("c.sync"), message("c.quick")
    with working() as main:
        main.hand_over(first, second)
        assert states(main.until_answered(2)) == {first.job: "FAILURE", second.job: "SUCCESS"}


def test_leftovers_of_a_task_end_before_its_child_would_be_killed() -> None:
    assert coroutines._LEFT < shared_children._GRACE
