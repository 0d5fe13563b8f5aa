"""The ledger: a duty of the store thread that settles ended messages in batches.

The messages that end while one batch is committed are the next batch, so an idle worker settles at once and a busy
worker in large batches. Nothing leaves the ledger before it is committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from taskq.engines import for_alias
from taskq.records import Claimed, Progress, Settlement
from taskq.store import claim, progress, requeue
from taskq.store.settle import settle
from taskq.worker import log_lines

from .lease import WorkerLease
from .store_thread import Duty

#: How many settlements one transaction takes, at most.
BATCH = 500
#: After how many failures in a row the reports of running tasks are dropped.
_MOST_FAILED_WRITES = 3

Call = Callable[[], None]


class Ledger(Duty):
    """Settles and requeues messages and counts starts for one worker. Used on the store thread only."""

    def __init__(self, lease: WorkerLease, alias: str, *, batch: int = BATCH) -> None:
        self._lease = lease
        self._alias = alias
        self._batch = batch
        self._engine = for_alias(alias)
        self._settlements: deque[Settlement] = deque()
        self._progress: list[tuple[str, Progress]] = []
        self._calls: deque[tuple[Call, Call]] = deque()
        self._failed_writes = 0
        #: The messages of batches that ended with an error: the database may have committed them all the same.
        self._in_doubt: set[int] = set()
        #: How many settlements were committed, or not settled because the message was no longer held.
        self.written = 0

    # -- what the loop posts

    def add(self, settlement: Settlement) -> None:
        """Settle a message with the next batch."""
        self._settlements.append(settlement)

    def report(self, report: Progress) -> None:
        """Write a state of a running task with the next batch."""
        self._progress.append((self._lease.holder(report.message_id), report))

    def do(self, call: Call, otherwise: Call = lambda: None) -> None:
        """Have ``call``, which uses the database, made until it succeeds; ``otherwise`` if it can never succeed."""
        self._calls.append((call, otherwise))

    # -- the duty

    def work(self) -> bool:
        """Write reports, calls and one batch of settlements; each stays in the ledger until it is committed."""
        if self._progress:
            self._write_progress()
        while self._calls:
            self._make(*self._calls[0])
            self._calls.popleft()
        if self._settlements:
            self._settle(self._next_batch())
        return bool(self._settlements)

    def _next_batch(self) -> Sequence[Settlement]:
        """Return the next settlements that fit into one transaction, by number and by size."""
        batch: list[Settlement] = []
        room = self._engine.batch_bytes
        for settlement in islice(self._settlements, self._batch):
            room -= _size(settlement)
            if batch and room < 0:
                break
            batch.append(settlement)
        return batch

    def _make(self, call: Call, otherwise: Call) -> None:
        try:
            call()
        except Exception as error:
            if self._engine.may_pass(error):
                raise
            log_lines.write_failed()
            otherwise()

    def _requeue_or_drop(self, *message_ids: int) -> None:
        """Requeue messages for which nothing else can be written. If that is refused too, the source tries it again."""
        try:
            self._requeue(message_ids)
        except Exception as error:
            if self._engine.may_pass(error):
                raise
            log_lines.requeue_failed(message_ids)
            for message_id in message_ids:
                self._lease.drop(message_id)

    @property
    def unwritten(self) -> Sequence[Settlement]:
        """The settlements that are not committed."""
        return tuple(self._settlements)

    @property
    def done(self) -> bool:
        """Whether everything is written."""
        return not (self._settlements or self._progress or self._calls)

    def _settle(self, batch: Sequence[Settlement]) -> None:
        by_token: dict[str, list[Settlement]] = {}
        for settlement in batch:
            by_token.setdefault(self._lease.holder(settlement.message_id), []).append(settlement)
        for token, settlements in by_token.items():
            try:
                held = settle(token, settlements, self._alias)
            except Exception:
                self._in_doubt.update(s.message_id for s in settlements)
                raise
            if unsettled := [s for s in settlements if s.message_id not in held]:
                self._tell_why(token, unsettled)
        for settlement in batch:
            self._settlements.popleft()
            self.written += 1
            self._lease.drop(settlement.message_id)
        self._in_doubt.clear()

    def _tell_why(self, token: str, unsettled: Sequence[Settlement]) -> None:
        """Log why messages were not settled under the token of their claim."""
        holders = claim.holders([s.message_id for s in unsettled], self._alias)
        for settlement in unsettled:
            holder = holders.get(settlement.message_id)
            if token != self._lease.token:
                log_lines.settlement_dropped(settlement, "this worker was taken for dead while it ran")
            elif holder:
                log_lines.settlement_dropped(settlement, "its message was taken over by another worker")
            elif holder is not None:
                log_lines.settlement_dropped(settlement, "its message is back in its queue")
            elif settlement.message_id in self._in_doubt:
                log_lines.settlement_found(settlement)
            else:
                log_lines.settlement_dropped(settlement, "its message was deleted")

    def _write_progress(self) -> None:
        by_token: dict[str, list[Progress]] = {}
        for token, report in self._progress:
            by_token.setdefault(token, []).append(report)
        try:
            for token, reports in by_token.items():
                progress.write(token, reports, self._alias)
        except Exception as error:
            if not self._engine.refuses(error):
                self._spare_reports()
                raise
            self._write_one_by_one()
        self._failed_writes = 0
        self._progress.clear()

    def _spare_reports(self) -> None:
        """Drop the reports after repeated failures: they may be the cause, and settlements must not wait for ever."""
        self._failed_writes += 1
        if self._failed_writes >= _MOST_FAILED_WRITES:
            log_lines.reports_dropped(len(self._progress))
            self._failed_writes = 0
            self._progress.clear()

    def _write_one_by_one(self) -> None:
        for token, report in self._progress:
            try:
                progress.write(token, [report], self._alias)
            except Exception as error:
                if not self._engine.refuses(error):
                    raise
                log_lines.report_refused(report, error)

    # -- commits before a start, or instead of a start

    def count(self, message_id: int, then: Callable[[bool], None]) -> None:
        """Commit one more start of a redelivered message, then call ``then`` with whether it may start."""
        self.do(
            lambda: then(bool(claim.count_start(self._lease.holder(message_id), [message_id], self._alias))),
            lambda: self._refuse(message_id, then),
        )

    def acknowledge(self, message_id: int, then: Callable[[bool], None]) -> None:
        """Commit that a message never runs again, then call ``then`` with whether it may start."""
        self.do(
            lambda: then(bool(claim.acknowledge(self._lease.holder(message_id), [message_id], self._alias))),
            lambda: self._refuse(message_id, then),
        )

    def _refuse(self, message_id: int, then: Callable[[bool], None]) -> None:
        self._requeue_or_drop(message_id)
        then(False)

    def postpone(self, message: Claimed, delay: float) -> None:
        """Move a message that is not due into the schedule, ``delay`` seconds from now."""
        self._let_go(message.id, lambda token: requeue.postpone(token, message, delay, self._alias))

    def drop(self, message_id: int) -> None:
        """Forget a message that another worker has taken over."""
        self.do(lambda: self._lease.drop(message_id))

    def requeue(self, message_ids: Sequence[int], uncount: Sequence[int] = ()) -> None:
        """Requeue messages without counting a start; for those in ``uncount`` a counted start is taken back."""
        self.do(lambda: self._requeue(message_ids, uncount), lambda: self._requeue_or_drop(*message_ids))

    def _requeue(self, message_ids: Sequence[int], uncount: Sequence[int] = ()) -> None:
        by_token: dict[str, list[int]] = {}
        for message_id in message_ids:
            by_token.setdefault(self._lease.holder(message_id), []).append(message_id)
        for token, ids in by_token.items():
            requeue.requeue(token, ids, self._alias, uncount=uncount)
        for message_id in message_ids:
            self._lease.drop(message_id)

    def requeue_lost(self, message_id: int, *, starts: int, reason: str, worker: str, started: float | None) -> None:
        """Requeue a message whose run died with its process, and write the attempt."""
        lost = partial(requeue.requeue_lost, deliveries=starts, reason=reason, worker=worker, started=started)
        self._let_go(message_id, lambda token: lost(token, message_id, alias=self._alias))

    def _let_go(self, message_id: int, write: Callable[[str], object]) -> None:
        """Have ``write`` called with the token of a message, which is not held after that."""

        def call() -> None:
            write(self._lease.holder(message_id))
            self._lease.drop(message_id)

        self.do(call, lambda: self._requeue_or_drop(message_id))


def _size(s: Settlement) -> int:
    return len(s.result or "") + len(s.traceback or "") + sum(len(e.body) for e in s.follow_ups.envelopes)
