"""Statistics: a duty of the store thread that counts how tasks end, and adds it to the database's rows now and then.

What a worker has counted and not written is lost if it is killed: rows of tasks are the truth, charts are counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Container, Sequence

from django.db import Error

from taskq import clock, states
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.histograms import BUCKETS, bucket
from taskq.records import Settlement
from taskq.store import statistics
from taskq.worker import log_lines

from .patience import Patience
from .store_thread import Duty

#: Seconds between two writes.
EVERY = 10.0
_PLACES = {states.SUCCESS: 0, states.FAILURE: 1, states.RETRY: 2, states.REVOKED: 3}
_WAITED = len(_PLACES)
_RAN = _WAITED + BUCKETS


class Statistics(Duty):
    """Counts the settlements of each call of ``count``; those of tasks that are not in ``known`` under no name."""

    def __init__(self, alias: str, known: Container[str], patience: Patience | None = None) -> None:
        self._alias = alias
        self._known = known
        self._patience = patience or Patience(alias)
        self._counted: dict[statistics.Key, list[int]] = {}
        self._minute = 0
        self._next_write = math.inf

    def start(self) -> None:
        """Count the settlements of this process, if ``TASKQ_STATISTICS`` is on."""
        if settings.STATISTICS:
            log_lines.tasks_settled.subscribe(self.count)

    def end(self) -> None:
        """Count nothing more."""
        log_lines.tasks_settled.unsubscribe(self.count)

    def count(self, settlements: Sequence[Settlement]) -> None:
        """Count tasks that were settled now."""
        minute = self._minute = int(clock.now() // 60)
        if not self._counted:
            self._next_write = time.monotonic() + EVERY
        for settlement in settlements:
            place = _PLACES.get(settlement.state)
            if place is None:  # the task was replaced, or its end has no state
                continue
            counters = self._counted.get((minute, settlement.name, settlement.queue)) or self._new(settlement)
            counters[place] += 1
            if settlement.waited is not None:
                counters[_WAITED + bucket(settlement.waited)] += 1
            if settlement.runtime is not None:
                counters[_RAN + bucket(settlement.runtime)] += 1

    def _new(self, settlement: Settlement) -> list[int]:
        # A message may name anything: that makes no rows.
        name = settlement.name if settlement.name in self._known else ""
        return self._counted.setdefault((self._minute, name, settlement.queue), [0] * len(statistics.COUNTERS))

    def work(self) -> bool:
        """Write the counts, if it is time."""
        if time.monotonic() >= self._next_write:
            self.write()
        return False

    def write(self) -> None:
        """Write the counts. If rows are locked, a later call tries again; if the database refuses, they are dropped."""
        self._next_write = time.monotonic() + EVERY
        if not self._counted:
            self._next_write = math.inf
            return
        try:
            statistics.add(self._counted, self._alias)
        except Error as error:
            if self._patience.met_lock(error):
                return
            if not for_alias(self._alias).refuses(error):
                raise
            log_lines.statistics_refused(error)
        self._counted = {}
        self._next_write = math.inf

    def leave(self) -> None:
        """Write the counts before the worker ends. If that fails, they are lost: they are no reason to wait."""
        try:
            self.write()
        except Error as error:
            log_lines.statistics_refused(error)

    def due(self) -> float | None:
        """Return the seconds to the next write."""
        return None if math.isinf(self._next_write) else self._next_write - time.monotonic()
