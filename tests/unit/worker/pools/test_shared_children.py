"""The main process's side of a pool with one child, without a fork server."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator

import pytest
from kombu.asynchronous import Hub

from taskq.handover import Delivery
from taskq.worker.pools import frames
from taskq.worker.pools.base import PoolEvents, PoolOptions
from taskq.worker.pools.forkserver import ForkServer
from taskq.worker.pools.permits import take_permit
from taskq.worker.pools.shared_child import SharedChild
from taskq.worker.pools.shared_children import SharedChildren
from taskq.worker.pools.shared_slot import SharedSlot

from .driver import deliveries, open_files


class NoServer:
    """Stands for ``ForkServers``; with ``error`` it can't fork."""

    def __init__(self) -> None:
        self.children: list[int] = []
        self.error: OSError | None = None

    def spawn(self, child: int, options: frames.ChildOptions, fds: tuple[int, int]) -> None:
        if self.error is not None:
            raise self.error
        self.children.append(child)

    def reaped(self, child: int) -> None:
        pass


class Main:
    """A pool's children, and slots for three deliveries."""

    def __init__(self, max_tasks: int | None = None) -> None:
        self.returned: list[Delivery] = []
        self.hub, self.server = Hub(), NoServer()

        def ignore(_: object) -> None: ...

        events = PoolEvents(ignore, ignore, ignore, self.returned.extend, lambda: None, ignore)
        options = PoolOptions(max_tasks_per_child=max_tasks)
        self.children = SharedChildren(self.server, events, self.hub, options, "asyncio")  # type: ignore[arg-type]
        self.slots = [SharedSlot(index, self.children.place) for index in range(3)]

    def up(self) -> SharedChild:
        """Have the current child come up."""
        child = self.children.place.child
        assert child is not None
        child.on_up(os.getpid())
        return child

    def hand_over(self, count: int) -> list[Delivery]:
        handed = deliveries(count)
        for slot, delivery in zip(self.slots, handed, strict=False):
            self.children.hand_over(slot, delivery)
        return handed

    def close(self) -> None:
        for _, child in self.children.living:
            child.connection.close()
        self.hub.close()


@pytest.fixture
def main() -> Iterator[Main]:
    main = Main()
    yield main
    main.close()


def test_deliveries_that_have_not_started_leave_a_child_that_is_replaced(main: Main) -> None:
    main.children.start()
    child = main.up()
    started, *waiting = main.hand_over(3)
    assert take_permit(child.connection.child_fds[1]) is not None

    main.children.renew(starting=False)

    assert main.returned == waiting
    assert list(child.connection.pending) == [started.job]
    assert main.up() is not child
    assert [slot.accepting for slot in main.slots] == [False, True, True]


def test_child_runs_as_many_deliveries_as_it_may_before_it_is_replaced() -> None:
    main = Main(max_tasks=2)
    main.children.start()
    child = main.up()
    handed = main.hand_over(2)
    assert main.children.place.child is not child
    assert list(child.connection.pending.values()) == handed
    assert main.returned == []
    main.close()


def test_deliveries_that_were_taken_back_do_not_count_as_tasks_of_the_child() -> None:
    main = Main(max_tasks=2)
    main.children.start()
    child = main.up()
    for _ in range(3):
        (delivery,) = main.hand_over(1)
        assert main.children.take_back(main.slots[0]) is delivery
    assert main.children.place.child is child
    assert main.children.place.room == 2
    main.close()


def test_child_that_gets_no_descriptors_is_tried_again(main: Main) -> None:
    before = open_files()
    main.server.error = OSError(errno.EMFILE, "Too many open files")
    main.children.start()
    assert (main.children.living, main.children.place.child, main.children.place.failures) == ([], None, 1)
    assert open_files() == before

    main.server.error = None
    end = time.monotonic() + 60
    while not main.server.children:
        assert time.monotonic() < end
        main.hub.run_once()
    main.up()
    assert main.slots[0].accepting


def test_fork_server_keeps_no_descriptor_of_a_child_that_it_was_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    dup = os.dup

    def refuse(fd: int) -> int:
        if fd == theirs.fileno():
            raise OSError(errno.EMFILE, "Too many open files")
        return dup(fd)

    with ours, theirs:
        server = ForkServer(0, ours)
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(os, "dup", refuse)
        with pytest.raises(OSError, match="Too many"):
            server.spawn(1, frames.ChildOptions(0, "test"), (ours.fileno(), theirs.fileno()))
        assert len(os.listdir("/proc/self/fd")) == before
