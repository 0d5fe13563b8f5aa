"""One slot of the prefork pool: the child that fills it, the state of that child, and its deliveries."""

from __future__ import annotations

import time
from enum import Enum

from taskq.handover import Delivery
from taskq.worker.process.system import describe_exit

from .base import MAX_IN_FLIGHT, LostChild
from .child_connection import ChildConnection


class State(Enum):
    """The state of a slot's child."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    #: It gets no more deliveries, and ends when those it has have an outcome.
    LEAVING = "leaving"


class PreforkSlot:
    """A slot; ``connection`` is ``None`` while there is no child. See ``base.Slot`` for the public part."""

    def __init__(self, index: int, max_tasks: int | None) -> None:
        self.index = index
        self.pid: int | None = None
        self.state = State.DOWN
        self.connection: ChildConnection | None = None
        self.busy_since: float | None = None
        #: ``time.monotonic()`` when the delivery at the head reaches its hard limit.
        self.deadline: float | None = None
        self.killed_for: str | None = None
        #: The child is being killed because its answers can't be read.
        self.faulty = False
        #: How many children in a row ended before their first outcome.
        self.failures = 0
        self.forked_at = 0.0
        self.completed = 0
        self.stop_sent = False
        #: The slot goes away with its child.
        self.removing = False
        #: ``unfinished`` of a child that was killed with the pool.
        self.cut_short: list[tuple[Delivery, bool]] = []
        self._max_tasks = max_tasks

    def __repr__(self) -> str:
        return f"<slot {self.index} {self.state.value}, pid {self.pid}, {self.in_flight} in flight>"

    @property
    def in_flight(self) -> int:
        """How many deliveries were handed over and have no outcome yet."""
        return len(self.connection.pending) if self.connection is not None else 0

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self.in_flight

    @property
    def accepting(self) -> bool:
        """Whether deliveries may be handed over."""
        return self.state is State.UP and self.room > 0

    @property
    def room(self) -> int:
        """How many deliveries may be handed over now."""
        if self.state is not State.UP:
            return 0
        room = MAX_IN_FLIGHT - self.in_flight
        return room if self._max_tasks is None else min(room, self._max_tasks - self.completed - self.in_flight)

    @property
    def has_run_all(self) -> bool:
        """Whether the child has run as many tasks as it may."""
        return self._max_tasks is not None and self.completed >= self._max_tasks

    @property
    def head(self) -> Delivery | None:
        """The delivery that runs now or is the next to run."""
        return self.connection.pending[0] if self.connection is not None and self.connection.pending else None

    def attach(self, connection: ChildConnection) -> None:
        """A child is being forked for this slot, and will be at the other end of ``connection``."""
        self.connection = connection
        self.state = State.STARTING
        self.pid = self.killed_for = None
        self.faulty = False
        self.forked_at = time.monotonic()
        self.completed = 0
        self.stop_sent = False
        self.head_changed()

    def on_up(self, pid: int) -> None:
        """The child is ready, unless it was asked to leave before it was."""
        self.pid = pid
        if self.state is State.STARTING:
            self.state = State.UP

    def head_changed(self) -> None:
        """Another delivery is at the head, or none: set ``busy_since`` and ``deadline``."""
        head = self.head
        self.busy_since = time.monotonic() if head is not None else None
        limited = head is not None and head.time_limit
        self.deadline = self.busy_since + limited if self.busy_since is not None and limited else None

    def unfinished(self) -> list[tuple[Delivery, bool]]:
        """Return the child's deliveries without an outcome, each with whether it has started."""
        if self.connection is None:
            return []
        started = self.connection.started()
        return [(delivery, number < started) for number, delivery in enumerate(self.connection.pending)]

    def end(self, exit_code: int) -> LostChild:
        """The child has ended, and all its frames are read: close the connection and return the lost deliveries."""
        unfinished = self.unfinished()
        started = [delivery for delivery, began in unfinished if began]
        unstarted = [delivery for delivery, began in unfinished if not began]
        job = f" Job: {started[0].job}." if started else ""
        reason = f"Worker exited prematurely: {describe_exit(exit_code)}{job or '.'}"
        if self.connection is not None and self.connection.fault:
            reason += f" It was killed: {self.connection.fault}."
        lost = LostChild(started, unstarted, reason, self.killed_for)
        if self.connection is not None:
            self.connection.close()
        self.connection = None
        self.pid = None
        self.state = State.DOWN
        self.head_changed()
        return lost
