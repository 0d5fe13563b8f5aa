"""Housekeeping: a duty of the store thread that one living worker has for all.

It deletes rows by age, a small batch at a time, and queues that expired, and gives back
what is held by nobody.
"""

from __future__ import annotations

import time

from taskq.store import retention, topology
from taskq.store.recover import recover_orphans

from .lease import Lease

#: The name of the duty's lease in the database.
NAME = "housekeeping"
_EVERY = 60.0
_BETWEEN_BATCHES = 0.2


class Housekeeping:
    """Runs once a minute, and while there is something to delete, in short steps."""

    def __init__(self, lease: Lease, alias: str) -> None:
        self._lease = lease
        self._alias = alias
        # Not at once: a worker that comes up has better things to do.
        self._next = time.monotonic() + lease.seconds

    def work(self) -> bool:
        """Do one step if it is time."""
        if time.monotonic() < self._next or not self._lease.token:
            return False
        deleted = 0
        if retention.take_lease(NAME, self._lease.token, self._alias):
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

    @property
    def done(self) -> bool:
        """Nothing here must be written before the end."""
        return True

    def due(self) -> float | None:
        """Return the seconds to the next step."""
        return self._next - time.monotonic()

    def news(self, names: set[str] | None) -> None:
        """Nothing in the database is urgent here."""
