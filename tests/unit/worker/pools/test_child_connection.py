"""A model of the main process and one child: whatever their steps, nothing taken back runs and nothing is lost."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from taskq.handover import Delivery
from taskq.worker.pools import permits
from taskq.worker.pools.child_connection import ChildConnection
from taskq.worker.pools.child_inbox import ChildInbox
from taskq.worker.pools.permits import take_permit

from .driver import deliveries


class SlowSocket:
    """Stands for ``WriteBuffer``: what is sent reaches the child's socket when the test says so."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.waiting: deque[bytes] = deque()

    def send(self, data: bytes) -> None:
        self.waiting.append(data)

    def pass_on(self) -> None:
        if self.waiting:
            self.sock.sendall(self.waiting.popleft())

    def close(self) -> None:
        pass


class Handing(RuleBasedStateMachine):
    """The child's steps are system calls apart: it takes a permit, reads, begins, ends."""

    first_generation = 0

    def __init__(self) -> None:
        super().__init__()
        self.connection = ChildConnection(None)  # type: ignore[arg-type]
        self.wire = self.connection._write_buffer = SlowSocket(self.connection._sock)  # type: ignore[assignment]
        self.connection.child_sock.setblocking(False)
        self.inbox = ChildInbox(self.connection.child_sock, self.connection.child_fds[1])
        self.connection._generation = self.inbox._generation = self.first_generation
        self.permit: int | None = None
        self.running: Delivery | None = None
        self.ended: deque[Delivery] = deque()
        self.expected: list[Delivery] = []
        self.ran: list[Delivery] = []
        self.taken: list[Delivery] = []

    @rule(number=st.integers(1, 4))
    def hand_over(self, number: int) -> None:
        work = deliveries(number)
        self.connection.hand_over(work)
        self.expected += work

    @rule(limit=st.none() | st.integers(0, 3))
    def take_back(self, limit: int | None) -> None:
        back = self.connection.take_back(limit)
        assert limit is None or len(back) <= limit
        assert back == self.expected[len(self.expected) - len(back) :]
        del self.expected[len(self.expected) - len(back) :]
        self.taken += back

    @rule()
    def hold_and_release(self) -> None:
        self.connection.hold()
        self.read_outcomes()
        assert self.connection.started() == self.begun
        self.connection.release()

    @rule(number=st.integers(0, 5))
    def hold_and_take_back(self, number: int) -> None:
        self.connection.hold()
        self.take_back(number)
        self.connection.release()

    @rule()
    def frame_reaches_the_child(self) -> None:
        self.wire.pass_on()  # type: ignore[attr-defined]

    @rule()
    def child_reads(self) -> None:
        with suppress(BlockingIOError):
            self.inbox.receive()

    @precondition(lambda self: self.permit is None and self.running is None)
    @rule()
    def child_takes_a_permit(self) -> None:
        self.permit = take_permit(self.inbox._permits_fd)

    @precondition(lambda self: self.permit is not None)
    @rule()
    def child_begins(self) -> None:
        assert self.permit is not None
        try:
            begun = self.inbox.permitted(self.permit)
        except BlockingIOError:
            # It waits for what has not reached it; the permit stays in its hand.
            return
        self.permit, self.running = None, begun
        assert begun not in self.taken
        self.ran.append(begun)
        assert self.ran == self.expected[: len(self.ran)]

    @precondition(lambda self: self.running is not None)
    @rule()
    def child_ends_one(self) -> None:
        assert self.running is not None
        self.ended.append(self.running)
        self.running = None

    @rule()
    def read_outcomes(self) -> None:
        while self.ended:
            assert self.connection.pending.pop(next(iter(self.connection.pending))) == self.ended.popleft()

    @property
    def begun(self) -> int:
        return int(self.permit is not None or self.running is not None)

    @invariant()
    def knows_what_has_begun(self) -> None:
        assert self.connection.started() == self.begun + len(self.ended)

    def teardown(self) -> None:
        try:
            self.run_what_is_left()
            assert self.ran == self.expected
            assert self.permit is None
            assert take_permit(self.inbox._permits_fd) is None
        finally:
            self.connection.close()

    def run_what_is_left(self) -> None:
        for _ in range(5 * len(self.expected) + 2 * len(self.wire.waiting) + 5):  # type: ignore[attr-defined]
            self.frame_reaches_the_child()
            if self.running is not None:
                self.child_ends_one()
            elif self.permit is not None:
                self.child_begins()
            else:
                self.child_takes_a_permit()


class HandingAcrossTheEndOfTheCount(Handing):
    """The same, where the generations start again at 0."""

    first_generation = permits.GENERATIONS - 1


TestHanding = Handing.TestCase
TestHanding.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestHandingAcrossTheEndOfTheCount = HandingAcrossTheEndOfTheCount.TestCase
TestHandingAcrossTheEndOfTheCount.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
