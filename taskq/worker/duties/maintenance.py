"""Maintenance: a duty of the store thread that one living worker, the leader, does for all.

It deletes rows by age, a small batch at a time, and expired queues, and requeues messages
whose worker is not registered.
"""

from __future__ import annotations

import time

from taskq.store import leadership, retention, topology
from taskq.store.recover import recover_orphans

from .lease import WorkerLease
from .store_thread import Duty

#: The name of the duty in the database. Workers of older versions use it too.
NAME = "housekeeping"
_EVERY = 60.0
_BETWEEN_BATCHES = 0.2


class Maintenance(Duty):
    """Runs once a minute, and in short steps while there are rows to delete."""

    def __init__(self, lease: WorkerLease, alias: str) -> None:
        self._lease = lease
        self._alias = alias
        # Not at once: a worker that starts has tasks to claim first.
        self._next = time.monotonic() + lease.seconds

    def work(self) -> bool:
        """Do one step if it is time, and if this worker leads."""
        if time.monotonic() < self._next or not self._lease.token:
            return False
        deleted = 0
        if leadership.lead(NAME, self._lease.token, self._alias):
            recover_orphans(self._alias)
            topology.sweep(self._alias)
            deleted = self._delete_old()
        self._next = time.monotonic() + (_BETWEEN_BATCHES if deleted else max(_EVERY, self._lease.seconds))
        return False

    def _delete_old(self) -> int:
        ages = {state: age for state, age in retention.ages().items() if age is not None}
        deleted = sum(retention.expire(state, age, alias=self._alias) for state, age in ages.items())
        if len(ages) == len(retention.ages()):
            deleted += retention.expire_attempts(max(ages.values()), alias=self._alias)
            deleted += retention.expire_workflows(max(ages.values()), alias=self._alias)
        return deleted

    def due(self) -> float | None:
        """Return the seconds to the next step."""
        return self._next - time.monotonic()
