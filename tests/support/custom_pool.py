"""A pool of a project's own: threads that write down what they were given."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.handover import Delivery
from taskq.worker.pools.base import Pool, Slot
from taskq.worker.pools.threads import ThreadsPool


class RecordingPool(ThreadsPool):
    """The pool ``threads``, and a list of all jobs."""

    name = "recording"
    jobs: list[int] = []

    def hand_over(self, slot: Slot, deliveries: Sequence[Delivery]) -> None:
        """Write down the jobs too."""
        self.jobs.extend(delivery.job for delivery in deliveries)
        super().hand_over(slot, deliveries)


class HalfPool(Pool):
    """A pool whose methods are missing."""


class NoPool:
    """A class that is no pool."""
