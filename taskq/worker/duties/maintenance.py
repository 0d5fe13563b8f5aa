"""Maintenance: a duty of the store thread that one living worker, the leader, does for all.

It deletes rows by age, a small batch at a time, expired queues and workers that were lost long ago, and requeues
messages whose worker is not registered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from taskq.store import leadership, retention, topology, workers
from taskq.store.recover import recover_orphans
from taskq.worker import log_lines

from .lease import WorkerLease
from .store_thread import Duty

#: The name of the duty in the database. Workers of older versions use it too.
NAME = "housekeeping"
_EVERY = 60.0
#: The pause after a batch of deletions, as a multiple of the time that the batch took, and at least.
_PAUSE, _LEAST_PAUSE = 2.0, 0.02
#: Seconds after which a pass of retention that has not ended is behind, and between two lines of the log about that.
BEHIND = 600.0


class Maintenance(Duty):
    """Makes a round once a minute, and short steps in between while there are rows to delete."""

    def __init__(self, lease: WorkerLease, alias: str) -> None:
        self._lease = lease
        self._alias = alias
        # Not at once: a worker that starts has tasks to claim first.
        self._next_round = time.monotonic() + lease.seconds
        self._next_step = 0.0
        #: The pass of retention that is under way, when it began, and when to log next that it is behind.
        self._sweep: Iterator[int] | None = None
        self._began = self._warn_at = 0.0
        self._deleted = 0
        self._marks: retention.Marks = {}

    def work(self) -> bool:
        """Do what is due, if this worker leads."""
        if not self._lease.token:
            return False
        now = time.monotonic()
        if now >= self._next_round:
            self._next_round = now + max(_EVERY, self._lease.seconds)
            self._make_round()
        if self._sweep is not None and now >= self._next_step:
            self._step(self._sweep)
        return False

    def _make_round(self) -> None:
        """Do what is done once a minute, and begin a pass of retention unless one is under way."""
        if not leadership.lead(NAME, self._lease.token, self._alias):
            self._sweep = None
            return
        recover_orphans(self._alias)
        topology.sweep(self._alias)
        workers.forget_lost(self._alias)
        if self._sweep is None:
            self._sweep = retention.sweep(self._marks, self._alias)
            self._began, self._deleted = time.monotonic(), 0
            self._warn_at = self._began + BEHIND

    def _step(self, sweep: Iterator[int]) -> None:
        """Delete one batch. If that fails, the next round begins a new pass."""
        self._sweep, began = None, time.monotonic()
        deleted = next(sweep, None)
        if deleted is None:
            return
        now = time.monotonic()
        self._sweep, self._next_step = sweep, now + max(_LEAST_PAUSE, _PAUSE * (now - began))
        self._deleted += deleted
        if now >= self._warn_at:
            self._warn_at = now + BEHIND
            log_lines.retention_behind(now - self._began, self._deleted)

    def due(self) -> float | None:
        """Return the seconds to the next round, or to the next step."""
        moment = self._next_round if self._sweep is None else min(self._next_round, self._next_step)
        return moment - time.monotonic()
