"""One child of a pool as the main process sees it: its state, its connection and its deliveries."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

from taskq.handover import Delivery
from taskq.worker.process.system import describe_exit

from .base import LostChild, Unfinished
from .child_connection import ChildConnection

#: How many jobs the reason of a loss names.
_JOBS_SHOWN = 10


class State(Enum):
    """The state of a child; a slot without a child is ``DOWN``."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    #: It gets no more deliveries, and ends when those it has have an outcome.
    LEAVING = "leaving"


class PoolChild:
    """A child, from the request to fork it until it is reaped. ``number`` is never used again for another child."""

    def __init__(self, number: int, connection: ChildConnection) -> None:
        self.number = number
        self.connection = connection
        self.pid: int | None = None
        self.state = State.STARTING
        #: It is being killed because its answers can't be read.
        self.faulty = False
        self.forked_at = time.monotonic()
        self.completed = 0
        #: Who wants to know where the task of a job is.
        self.asking: dict[int, list[Callable[[str], None]]] = {}
        self.stop_sent = False
        #: ``time.monotonic()`` when its end of the socket was found closed.
        self.closed_at: float | None = None

    @property
    def in_flight(self) -> int:
        """How many deliveries were handed over and have no outcome yet."""
        return len(self.connection.pending)

    def on_up(self, pid: int) -> None:
        """The child is ready, unless it was asked to leave before it was."""
        self.pid = pid
        if self.state is State.STARTING:
            self.state = State.UP

    def ask_to_stop(self) -> None:
        """Ask a child that is leaving to end."""
        self.stop_sent = True
        self.connection.ask_to_stop()

    def unfinished(self) -> list[Unfinished]:
        """Return the deliveries without an outcome."""
        started = self.connection.started()
        pending = self.connection.pending.values()
        return [Unfinished(delivery, number < started) for number, delivery in enumerate(pending)]

    def end(self, exit_code: int) -> LostChild:
        """The child has ended, and all its frames are read: close the connection and return the lost deliveries."""
        lost = LostChild.of(self.unfinished(), "")
        lost.reason = self._reason(exit_code, lost.started)
        self.connection.close()
        return lost

    def _reason(self, exit_code: int, started: list[Delivery]) -> str:
        jobs = ", ".join(str(delivery.job) for delivery in started[:_JOBS_SHOWN])
        more = f" and {len(started) - _JOBS_SHOWN} more" if len(started) > _JOBS_SHOWN else ""
        label = f" Job{'s' if len(started) > 1 else ''}: {jobs}{more}." if started else "."
        reason = f"Worker exited prematurely: {describe_exit(exit_code)}{label}"
        return reason + (f" It was killed: {self.connection.fault}." if self.connection.fault else "")
