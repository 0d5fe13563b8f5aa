"""One child that runs many deliveries at a time, as the main process sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskq.handover import Delivery

from .base import LostChild
from .child_connection import ChildConnection
from .pool_child import PoolChild

if TYPE_CHECKING:
    from .shared_slot import SharedSlot


@dataclass(slots=True)
class Ended:
    """A task that the pool has its child end, and why: ``reason`` is as in ``LostChild.killed_for``."""

    delivery: Delivery
    reason: str


class SharedChild(PoolChild):
    """A child of ``shared_children``. It counts all deliveries that it was ``given``."""

    def __init__(self, number: int, connection: ChildConnection) -> None:
        super().__init__(number, connection)
        self.given = 0
        #: The slots of the deliveries that it has, by job.
        self.slots: dict[int, SharedSlot] = {}
        #: When deliveries reach their hard limits (``time.monotonic()``), by job.
        self.limits: dict[int, float] = {}
        #: The tasks that the child was asked to end, by job; ``asked`` was raised TaskTerminated in these.
        self.ended: dict[int, Ended] = {}
        self.asked: set[int] = set()
        #: It is killed because a task did not end: its other tasks are not to blame.
        self.killed_for_task = False

    def forget(self, job: int) -> Delivery | None:
        """Remove a delivery that has ended or was taken back; return it."""
        self.limits.pop(job, None)
        self.ended.pop(job, None)
        self.asked.discard(job)
        if (slot := self.slots.pop(job, None)) is not None:
            slot.clear()
        return self.connection.pending.pop(job, None)

    def blame(self, lost: LostChild) -> list[LostChild]:
        """Return the losses of this child, which has ended, by who is to blame for them."""
        ended = [self.ended[delivery.job] for delivery in lost.started if delivery.job in self.ended]
        rest = [delivery for delivery in lost.started if delivery.job not in self.ended]
        losses = [LostChild([each.delivery], [], lost.reason, each.reason) for each in ended]
        if self.killed_for_task:
            losses.append(LostChild([], lost.unstarted, lost.reason, interrupted=rest))
        elif rest or lost.unstarted or not losses:
            losses.append(LostChild(rest, lost.unstarted, lost.reason))
        return losses
