"""One child of the prefork pool as the main process sees it: the delivery at its head is the one that runs."""

from __future__ import annotations

import time

from taskq.handover import Delivery

from .base import LostChild
from .child_connection import ChildConnection
from .pool_child import PoolChild


class PreforkChild(PoolChild):
    """A child of ``children``, which runs one delivery after the other."""

    def __init__(self, number: int, connection: ChildConnection) -> None:
        super().__init__(number, connection)
        self.busy_since: float | None = None
        #: ``time.monotonic()`` when the delivery at the head reaches its hard limit.
        self.deadline: float | None = None
        self.killed_for: str | None = None
        #: Its task was asked to end by an exception.
        self.asked_to_end = False

    @property
    def head(self) -> Delivery | None:
        """The delivery that runs now or is the next to run."""
        return next(iter(self.connection.pending.values()), None)

    def head_changed(self) -> None:
        """Another delivery is at the head, or none: set ``busy_since`` and ``deadline``."""
        head = self.head
        self.busy_since = time.monotonic() if head is not None else None
        limited = head is not None and head.time_limit
        self.deadline = self.busy_since + limited if self.busy_since is not None and limited else None

    def end(self, exit_code: int) -> LostChild:
        """Do as the base, and say for what the child was killed."""
        lost = super().end(exit_code)
        lost.killed_for = self.killed_for
        return lost
