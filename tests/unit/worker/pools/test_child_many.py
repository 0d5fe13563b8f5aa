"""What the children that run many deliveries have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kombu.asynchronous import Hub

from taskq.handover import Delivery
from taskq.worker.pools import frames
from taskq.worker.pools.child_connection import ChildConnection
from taskq.worker.pools.child_many import ManyChild

from .driver import delivery


class NotingChild(ManyChild):
    """Notes what it is asked."""

    def __init__(self, connection: ChildConnection) -> None:
        super().__init__(connection.child_sock, connection.child_fds[1], frames.ChildOptions(0, "test"))
        self.asked: list[tuple[str, int]] = []

    def work(self) -> int:
        return 0

    def start(self, delivery: Delivery) -> None:
        self.asked.append(("start", delivery.job))

    def interrupt(self, job: int, *, hard: bool) -> bool:
        self.asked.append(("interrupt", job))
        return hard

    def stack(self, job: int) -> str:
        return ""


@pytest.fixture
def connection() -> Iterator[ChildConnection]:
    connection = ChildConnection(Hub())
    yield connection
    connection.close()


def test_task_is_ended_that_came_with_the_same_read(connection: ChildConnection) -> None:
    child = NotingChild(connection)
    handed = delivery()
    connection.hand_over([handed])
    connection.end_task(handed.job, "hard")
    child.on_readable()
    assert child.asked == [("start", handed.job), ("interrupt", handed.job)]
    child.answer(handed, None)
    connection.receive()
    assert [type(answer).__name__ for answer in connection.arrived] == ["CutShort"]
