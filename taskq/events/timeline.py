"""The timeline of tasks as rows: a duty of the store thread that writes what happened, a batch at a time.

The rows say what no other row does: when a worker received a task, and by which signal it was revoked. They are written
while events of tasks are on, whether or not somebody reads events. A row costs more than all else that a short task
does to the database, so a busy worker leaves out the receipt of tasks that have ended before it could be written.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from signal import Signals
from typing import Any

from taskq import clock, states
from taskq.engines import for_alias
from taskq.messages.exception_data import decode_exception
from taskq.records import Settlement
from taskq.store import timeline
from taskq.store.timeline import Moment
from taskq.worker.duties.lease import WorkerLease
from taskq.worker.duties.store_thread import Duty, StoreThread

from . import log_lines

#: Seconds for which a receipt waits: a short task of a busy worker has ended then.
_GATHERED = 0.2
#: If more tasks were received together, only those are written that have not ended.
_FEW = 100
#: The ends that are told: others are in the row of the task.
_TOLD = frozenset({states.RETRY, states.REVOKED})
#: Rows in one transaction.
_BATCH = 500
#: Batches and rows that wait at most: what comes while so many wait is dropped.
_MOST = 20_000


class Timeline(Duty):
    """Writes the timeline of one worker's tasks. Any thread notes, the store thread writes."""

    __slots__ = ("_lease", "_moments", "_received", "_signals", "_store")

    def __init__(self, store: StoreThread, lease: WorkerLease) -> None:
        self._store = store
        self._lease = lease
        #: What was received, with times of both clocks: batches, as they came.
        self._received: deque[tuple[float, float, Sequence[tuple[int, str]]]] = deque(maxlen=_MOST)
        #: What is to be written.
        self._moments: deque[Moment] = deque(maxlen=_MOST)
        self._signals: dict[int, str] = {}

    # -- noted on any thread

    def received(self, requests: Sequence[Any]) -> None:
        """Note requests that were received."""
        if requests:
            first = not self._received
            # Not the requests: what a busy worker keeps for a while costs it more than what it copies.
            ids = [(request.message.id, request.message.task_id) for request in requests]
            self._received.append((time.monotonic(), clock.now(), ids))
            if first:
                self._store.calls.wake()

    def revoked(self, request: Any, reason: str, signum: Signals | None) -> None:
        """Keep the signal until the end is committed."""
        if signum:
            self._signals[request.message.id] = signum.name

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Note retries and revocations that are committed; called on the store thread."""
        for settlement in settlements:
            if settlement.state in _TOLD and settlement.task_id:
                self._moments.append(self._of(settlement))

    def settled_before(self, settlement: Settlement) -> None:
        """Note an end whose commit was not known."""
        self.settled([settlement])

    def _of(self, settlement: Settlement) -> Moment:
        at = settlement.finished or clock.now()
        if settlement.state == states.RETRY:
            return Moment(settlement.task_id, "retried", at)
        reason = str(decode_exception(settlement.result))
        signum = self._signals.pop(settlement.message_id, "")
        return Moment(settlement.task_id, "revoked", at, f"{reason} {signum}".strip()[:255])

    # -- the duty

    def work(self) -> bool:
        """Write a batch of what has waited long enough."""
        if self._received and time.monotonic() - self._received[0][0] >= _GATHERED:
            self._moments.extend(self._receipts())
        if self._moments:
            self._write([self._moments[n] for n in range(min(_BATCH, len(self._moments)))])
        return bool(self._moments)

    def _receipts(self) -> Iterable[Moment]:
        """Take what was received long enough ago; return those receipts that are written."""
        due = time.monotonic() - _GATHERED
        found: list[tuple[float, int, str]] = []
        while self._received and self._received[0][0] <= due:
            _, at, ids = self._received.popleft()
            found += [(at, message_id, task_id) for message_id, task_id in ids]
        few = len(found) <= _FEW
        return [
            Moment(task_id, "received", at) for at, message_id, task_id in found if few or self._lease.holds(message_id)
        ]

    def _write(self, batch: Sequence[Moment]) -> None:
        try:
            timeline.write(self._lease.name, batch, self._store.alias)
        except Exception as error:
            if for_alias(self._store.alias).may_pass(error):
                raise
            log_lines.timeline_not_written(error)
        for _ in batch:
            self._moments.popleft()

    def due(self) -> float | None:
        """Return the seconds until what is noted is written."""
        if self._moments:
            return 0.0
        return self._received[0][0] + _GATHERED - time.monotonic() if self._received else None

    @property
    def done(self) -> bool:
        """Whether everything is written."""
        return not (self._moments or self._received)
