"""A child with greenlets, here in a thread of the test: what tasks leave behind must not harm it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.test import override_settings

from taskq.execution.interrupts import CutShort
from taskq.handover import Delivery, Outcome
from taskq.worker.pools import frames
from taskq.worker.pools.child_green import GreenChild, Guard
from taskq.worker.pools.greenlets import library

from .driver import delivery

gevent = pytest.importorskip("gevent")

_Run = Callable[[Delivery, Any], Outcome]


class Child:
    """A child, and the socket and pipe to it."""

    def __init__(self, run: _Run) -> None:
        self._ours, theirs = socket.socketpair()
        self._fds = os.pipe()
        self._reader = frames.FrameReader()
        options = frames.ChildOptions(0, "", kind="gevent")
        with override_settings(TASKQ_GREEN_DATABASE_CONNECTIONS=None):
            self.child = GreenChild(theirs, self._fds[0], options, run)

    def start(self, one: Delivery) -> None:
        self.child._running[one.job] = one
        self.child.start(one)

    def answers(self, seconds: float = 60.0) -> list[frames.Frame]:
        """Let greenlets run until nothing runs; return the frames that were sent."""
        with gevent.Timeout(seconds):
            while self.child._running:
                gevent.sleep(0.001)
        return self._reader.feed(self._ours.recv(65536))

    def close(self) -> None:
        for closed in (self._ours, self.child._sock, self.child._inbox._sock):
            closed.close()
        for fd in self._fds:
            os.close(fd)


def in_hub(test: Callable[[], None]) -> None:
    """Call a function in a thread, which has a loop of its own, and connections."""
    errors: list[BaseException] = []

    def call() -> None:
        try:
            test()
        except BaseException as error:
            errors.append(error)
        finally:
            gevent.get_hub().destroy()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.fixture
def make() -> Iterator[Callable[[_Run], Child]]:
    made: list[Child] = []

    def make(run: _Run) -> Child:
        made.append(Child(run))
        return made[-1]

    yield make
    for child in made:
        child.close()


def done(one: Delivery) -> Outcome:
    return Outcome(one.job, one.task_id, "SUCCESS", None)


def test_a_timer_that_a_task_leaves_does_not_meet_the_next_delivery(make: Callable[[_Run], Child]) -> None:
    timers = []

    def run(one: Delivery, report: Any) -> Outcome:
        if one.body == "leave":
            timers.append(gevent.Timeout.start_new(0.01))
        return done(one)

    def test() -> None:
        child = make(run)
        child.start(delivery("leave"))
        assert [kind for kind, _ in child.answers()] == [frames.OUTCOME]
        (timer,) = timers
        with gevent.Timeout(60):
            while timer.pending:
                gevent.sleep(0.001)
        child.start(delivery())
        assert [kind for kind, _ in child.answers()] == [frames.OUTCOME]

    in_hub(test)


@pytest.mark.parametrize("where", ["_outcome", "give_back"])
def test_whatever_is_raised_after_the_function_there_is_an_answer(
    make: Callable[[_Run], Child], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def test() -> None:
        child = make(lambda one, report: done(one))

        def fail(*args: Any) -> None:
            raise gevent.Timeout(0)

        monkeypatch.setattr(child.child if where == "_outcome" else child.child._connections, where, fail)
        child.start(delivery())
        assert [kind for kind, _ in child.answers()] == [frames.OUTCOME]

    in_hub(test)


def test_a_function_that_swallows_its_hard_end_does_not_succeed() -> None:
    def test() -> None:
        guard = Guard(library("gevent"), None)
        with pytest.raises(CutShort), guard:
            guard.interrupt(CutShort())
            with suppress(CutShort):
                gevent.sleep(20)

    in_hub(test)


def test_a_guard_that_was_interrupted_before_it_began_throws_nothing_later() -> None:
    def test() -> None:
        guard = Guard(library("gevent"), None)
        guard.interrupt(CutShort())
        with pytest.raises(CutShort):
            guard.__enter__()
        guard.interrupt(CutShort())
        gevent.sleep(0.01)  # would be raised here

    in_hub(test)
