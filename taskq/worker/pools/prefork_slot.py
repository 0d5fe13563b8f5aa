"""One slot of the prefork pool: which child fills it, what is in that child, and how far it has come."""

from __future__ import annotations

import time
from enum import Enum

from taskq.handover import Delivery
from taskq.worker.process.system import describe_exit

from .base import MAX_IN_FLIGHT, LostChild
from .child_connection import Lane


class State(Enum):
    """Where a slot's child stands."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    #: To end when it has answered what it has.
    LEAVING = "leaving"


class PreforkSlot:
    """A slot; ``lane`` is ``None`` while there is no child. See ``base.Slot`` for the public part."""

    def __init__(self, index: int, max_tasks: int | None) -> None:
        self.index = index
        self.pid: int | None = None
        self.state = State.DOWN
        self.lane: Lane | None = None
        self.busy_since: float | None = None
        #: ``time.monotonic()`` when the delivery at the head reaches its hard limit.
        self.deadline: float | None = None
        self.killed_for: str | None = None
        #: How many children in a row ended before they had done anything.
        self.failures = 0
        self.forked_at = 0.0
        self.completed = 0
        self.stop_sent = False
        #: The slot goes away with its child.
        self.removing = False
        #: What a killed child had, with whether it began; for ``Pool.unfinished``.
        self.remains: list[tuple[Delivery, bool]] = []
        self._max_tasks = max_tasks

    def __repr__(self) -> str:
        return f"<slot {self.index} {self.state.value}, pid {self.pid}, {self.in_flight} in flight>"

    @property
    def in_flight(self) -> int:
        """How many deliveries were handed over and have given no outcome."""
        return len(self.lane.pending) if self.lane is not None else 0

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
        return self.lane.pending[0] if self.lane is not None and self.lane.pending else None

    def begin(self, lane: Lane) -> None:
        """A child is being forked for this slot."""
        self.lane = lane
        self.state = State.STARTING
        self.pid = self.killed_for = None
        self.forked_at = time.monotonic()
        self.completed = 0
        self.stop_sent = False
        self.head_changed()

    def came_up(self, pid: int) -> None:
        """The child is ready, unless it was asked to leave before it was."""
        self.pid = pid
        if self.state is State.STARTING:
            self.state = State.UP

    def head_changed(self) -> None:
        """Another delivery is at the head, or none: note since when, and until when it may run."""
        head = self.head
        self.busy_since = time.monotonic() if head is not None else None
        limited = head is not None and head.time_limit
        self.deadline = self.busy_since + limited if self.busy_since is not None and limited else None

    def take_remains(self) -> list[tuple[Delivery, bool]]:
        """Return what the lane holds, each with whether it began."""
        if self.lane is None:
            return []
        started = self.lane.started()
        return [(delivery, number < started) for number, delivery in enumerate(self.lane.pending)]

    def end(self, exit_code: int) -> LostChild:
        """The child has ended, and all that it wrote is read; say what it leaves."""
        remains = self.take_remains()
        started = [delivery for delivery, began in remains if began]
        unstarted = [delivery for delivery, began in remains if not began]
        job = f" Job: {started[0].job}." if started else ""
        reason = f"Worker exited prematurely: {describe_exit(exit_code)}{job or '.'}"
        lost = LostChild(started, unstarted, reason, self.killed_for)
        if self.lane is not None:
            self.lane.close()
        self.lane = None
        self.pid = None
        self.state = State.DOWN
        self.head_changed()
        return lost
