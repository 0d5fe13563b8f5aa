"""The timeline of tasks as rows: a duty of the store thread that writes what happened, a batch at a time.

The rows say what no other row does: when a worker received a task, and by which signal it was revoked. They are written
while events of tasks are on, whether or not somebody reads events.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

from taskq import clock, states
from taskq.engines import for_alias
from taskq.messages.exception_data import decode_exception
from taskq.records import Settlement
from taskq.store import timeline
from taskq.store.timeline import Moment
from taskq.worker.duties.store_thread import Duty, StoreThread

from . import log_lines

#: Rows in one transaction.
_BATCH = 500
#: Seconds for which rows are gathered.
_GATHERED = 0.2
#: Rows that wait at most: what comes while so many wait is dropped.
_MOST = 20_000


class Timeline(Duty):
    """Writes the timeline of one worker's tasks. Any thread notes, the store thread writes."""

    __slots__ = ("_due", "_moments", "_signals", "_store", "_worker")

    def __init__(self, store: StoreThread, worker: str) -> None:
        self._store = store
        self._worker = worker
        self._moments: deque[Moment] = deque(maxlen=_MOST)
        self._due = 0.0
        self._signals: dict[int, str] = {}

    # -- noted on any thread

    def received(self, requests: Sequence[Any]) -> None:
        """Note requests that were received."""
        now = clock.now()
        self._note([Moment(request.message.task_id, "received", now) for request in requests])

    def revoked(self, request: Any, reason: str, signum: str) -> None:
        """Keep the signal until the end is committed."""
        if signum:
            self._signals[request.message.id] = signum

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Note retries and revocations that are committed."""
        self._note([moment for s in settlements if (moment := self._of(s)) is not None])

    def settled_before(self, settlement: Settlement) -> None:
        """Note an end whose commit was not known."""
        self.settled([settlement])

    def _of(self, settlement: Settlement) -> Moment | None:
        if settlement.state not in (states.RETRY, states.REVOKED) or not settlement.task_id:
            return None
        at = settlement.finished or clock.now()
        if settlement.state == states.RETRY:
            return Moment(settlement.task_id, "retried", at)
        reason = str(decode_exception(settlement.result))
        signum = self._signals.pop(settlement.message_id, "")
        return Moment(settlement.task_id, "revoked", at, f"{reason} {signum}".strip()[:255])

    def _note(self, moments: Sequence[Moment]) -> None:
        if moments:
            first = not self._moments
            self._moments.extend(moments)
            if first:
                self._due = time.monotonic() + _GATHERED
                self._store.calls.wake()

    # -- the duty

    def work(self) -> bool:
        """Write a batch, if it is large enough or has waited long enough."""
        if not self._moments or (len(self._moments) < _BATCH and time.monotonic() < self._due):
            return False
        batch = list(islice(self._moments, _BATCH))
        try:
            timeline.write(self._worker, batch, self._store.alias)
        except Exception as error:
            if for_alias(self._store.alias).may_pass(error):
                raise
            log_lines.timeline_not_written(error)
        for _ in batch:
            self._moments.popleft()
        return len(self._moments) >= _BATCH

    def due(self) -> float | None:
        """Return the seconds until what is noted is written."""
        return self._due - time.monotonic() if self._moments else None

    @property
    def done(self) -> bool:
        """Whether everything is written."""
        return not self._moments
