"""The ledger: a duty of the store thread that settles ended messages in batches.

The messages that end while one batch is committed are the next batch, so an idle worker settles at once and a busy
worker in large batches. Nothing leaves the ledger before it is committed. A batch that meets a locked row is halved
until the message that needs the row is alone; that message is set aside, and settled later.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from django.db import DatabaseError

from taskq.engines import for_alias
from taskq.records import Claimed, Progress, Settlement
from taskq.store import claim, progress, requeue
from taskq.store.settle import settle
from taskq.worker import log_lines

from .lease import WorkerLease
from .patience import Patience
from .set_aside import Call, SetAside, Write
from .store_thread import Duty
from .unsettled import tell_why

#: How many settlements one transaction takes, at most.
BATCH = 500
#: After how many failures in a row the reports of running tasks are dropped.
_MOST_FAILED_WRITES = 3
#: How often a turn may meet locked rows. After that it sets aside the rest of a batch.
_MOST_LOCKED = 25
#: Seconds until reports that met locked rows are written again.
_REPORTS_PAUSE = 0.5
#: The message id of a write about several messages. No message has it.
_SEVERAL_MESSAGES = 0


class Ledger(Duty):
    """Settles and requeues messages and counts starts for one worker. Used on the store thread only."""

    def __init__(self, lease: WorkerLease, alias: str, *, patience: Patience | None = None, batch: int = BATCH) -> None:
        self._lease = lease
        self._alias = alias
        self._patience = patience or Patience(alias)
        self._batch = batch
        self._engine = for_alias(alias)
        self._settlements: deque[Settlement] = deque()
        self._progress: list[tuple[str, Progress]] = []
        self._writes: deque[Write] = deque()
        self._failed_writes = 0
        #: The messages of batches that ended with an error: the database may have committed them all the same.
        self._in_doubt: set[int] = set()
        self._reports_due = 0.0
        #: Settlements and writes that met locked rows.
        self._aside: SetAside[Settlement | Write] = SetAside()
        #: How many settlements were committed, or not settled because the message was no longer held.
        self.written = 0

    # -- what the loop posts

    def add(self, settlements: Iterable[Settlement]) -> None:
        """Settle messages with the next batch."""
        if not self._aside:
            self._settlements.extend(settlements)
            return
        for settlement in settlements:
            if settlement.message_id in self._aside:
                self._aside.add(settlement.message_id, settlement)
            else:
                self._settlements.append(settlement)

    def report(self, report: Progress) -> None:
        """Write a state of a running task with the next batch."""
        self._progress.append((self._lease.holder(report.message_id), report))

    # -- the duty

    def work(self) -> bool:
        """Write reports, calls and one batch of settlements; each stays in the ledger until it is committed."""
        if self._progress and time.monotonic() >= self._reports_due:
            self._write_progress()
        while self._writes:
            self._write(self._writes[0])
            self._writes.popleft()
        if self._settlements:
            self._settle_next()
        if self._aside:
            self._try_again()
        return bool(self._settlements)

    def due(self) -> float | None:
        """Return the seconds until work that met locked rows is tried again."""
        due = min(self._aside.next_due, self._reports_due if self._progress else math.inf)
        return None if math.isinf(due) else due - time.monotonic()

    # -- settling

    def _settle_next(self) -> None:
        """Settle one batch; set aside the settlements that met locked rows."""

        def settled(part: Sequence[Settlement]) -> None:
            for _ in part:
                self._settlements.popleft()

        def locked(part: Sequence[Settlement]) -> None:
            settled(part)
            for settlement in part:
                self._aside.add(settlement.message_id, settlement)

        self._settle_in_parts(self._batch_of(self._settlements), settled, locked)

    def _batch_of(self, settlements: Iterable[Settlement]) -> Sequence[Settlement]:
        """Return the first settlements that fit into one transaction, by number and by size."""
        batch: list[Settlement] = []
        room = self._engine.batch_bytes
        for settlement in islice(settlements, self._batch):
            room -= settlement.size
            if batch and room < 0:
                break
            batch.append(settlement)
        return batch

    def _settle_in_parts(
        self,
        batch: Sequence[Settlement],
        settled: Callable[[Sequence[Settlement]], None],
        locked: Callable[[Sequence[Settlement]], None],
    ) -> float:
        """Settle a batch, halved where it meets locked rows; return the seconds that were waited for locks in vain.

        ``settled`` gets the settlements of each commit, ``locked`` those that met locked rows, in the batch's order.
        """
        met = 0
        # The messages of one token have a transaction of their own.
        parts = self._lease.by_token(batch)[::-1]
        wasted = 0.0
        while parts:
            token, part = parts.pop()
            began = time.monotonic()
            try:
                self._settle(token, part)
            except DatabaseError as error:
                if not self._patience.met_lock(error):
                    raise
                wasted += time.monotonic() - began
                met += 1
                half = len(part) // 2
                if half and met < _MOST_LOCKED:
                    parts += [(token, part[half:]), (token, part[:half])]
                else:
                    locked(part)
            else:
                settled(part)
        return wasted

    def _settle(self, token: str, settlements: Sequence[Settlement]) -> None:
        try:
            held = settle(token, settlements, self._alias)
        except Exception:
            self._in_doubt.update(s.message_id for s in settlements)
            raise
        ended: Sequence[Settlement] = settlements
        if unsettled := [s for s in settlements if s.message_id not in held]:
            tell_why(unsettled, self._alias, lease_lost=token != self._lease.token, in_doubt=self._in_doubt)
            ended = [s for s in settlements if s.message_id in held]
        log_lines.tasks_settled(ended)
        self.written += len(settlements)
        self._lease.drop(*[s.message_id for s in settlements])
        if self._in_doubt:
            self._in_doubt.difference_update(s.message_id for s in settlements)

    # -- after locked rows

    def _try_again(self) -> None:
        """Try again those settlements and writes whose pause is over."""
        due = self._aside.due()
        settlements = [piece for _, piece in due if isinstance(piece, Settlement)]
        writes = [piece for _, piece in due if isinstance(piece, Write)]
        wasted = sum(self._write_again(write) for write in writes[:_MOST_LOCKED])
        # Messages of one token come together.
        settlements.sort(key=lambda s: self._lease.holder(s.message_id))
        if settlements:
            wasted += self._settle_in_parts(
                self._batch_of(settlements),
                settled=lambda part: _each_message(self._aside.done, part),
                locked=lambda part: _each_message(self._aside.failed, part),
            )
        self._aside.rest(wasted)

    def _write_again(self, write: Write) -> float:
        """Make a write again; return the seconds that it waited in vain."""
        began = time.monotonic()
        if self._try_to_write(write):
            self._aside.done(write.message_id)
            return 0.0
        self._aside.failed(write.message_id)
        return time.monotonic() - began

    # -- writes

    def _add_write(self, message_id: int, call: Call, otherwise: Call = lambda: None) -> None:
        """Have ``call``, which uses the database, made until it succeeds; ``otherwise`` if it can never succeed."""
        self._writes.append(Write(message_id, call, otherwise))

    def _write(self, write: Write) -> None:
        """Make a write, or set it aside: behind other work on its message, and if it meets a locked row.

        The order counts: a requeue undoes a commit that was asked for before it.
        """
        if write.message_id in self._aside or not self._try_to_write(write):
            self._aside.add(write.message_id, write)

    def _try_to_write(self, write: Write) -> bool:
        """Make the call of a write, or ``otherwise`` if the database refuses it; return false if a row is locked."""
        try:
            write.call()
        except Exception as error:
            if self._patience.met_lock(error):
                return False
            if self._engine.may_pass(error):
                raise
            log_lines.write_failed()
            write.otherwise()
        return True

    def _requeue_or_drop(self, *message_ids: int) -> None:
        """Requeue messages whose write the database has refused. If it refuses this too, the source tries it again."""
        try:
            self._requeue(message_ids)
        except Exception as error:
            if self._engine.may_pass(error):
                raise
            log_lines.requeue_failed(message_ids)
            self._lease.drop(*message_ids)

    @property
    def unwritten(self) -> Sequence[Settlement]:
        """The settlements that are not committed."""
        waiting = [piece for piece in self._aside.pieces() if isinstance(piece, Settlement)]
        return [*self._settlements, *waiting]

    @property
    def done(self) -> bool:
        """Whether everything is written."""
        return not (self._settlements or self._progress or self._writes or self._aside)

    # -- reports

    def _write_progress(self) -> None:
        by_token: dict[str, list[Progress]] = {}
        for token, report in self._progress:
            by_token.setdefault(token, []).append(report)
        left: list[tuple[str, Progress]] = []
        try:
            for token, reports in by_token.items():
                progress.write(token, reports, self._alias)
        except Exception as error:
            locked = self._patience.met_lock(error)
            if not locked and not self._engine.refuses(error):
                self._spare_reports()
                raise
            left = self._write_one_by_one()
            if locked:
                self._reports_due = time.monotonic() + _REPORTS_PAUSE
        self._failed_writes = 0
        self._progress = left

    def _spare_reports(self) -> None:
        """Drop the reports after repeated failures: they may be the cause, and settlements must not wait for ever."""
        self._failed_writes += 1
        if self._failed_writes >= _MOST_FAILED_WRITES:
            log_lines.reports_dropped(len(self._progress))
            self._failed_writes = 0
            self._progress.clear()

    def _write_one_by_one(self) -> list[tuple[str, Progress]]:
        """Write the reports that can be written; return the reports of tasks whose rows are locked."""
        left: list[tuple[str, Progress]] = []
        for token, report in self._progress:
            if len(left) >= _MOST_LOCKED or any(report.task_id == earlier.task_id for _, earlier in left):
                left.append((token, report))
                continue
            try:
                progress.write(token, [report], self._alias)
            except Exception as error:
                if self._patience.met_lock(error):
                    left.append((token, report))
                    continue
                if not self._engine.refuses(error):
                    raise
                log_lines.report_refused(report, error)
        return left

    # -- commits before a start, or instead of a start

    def count(self, message_id: int, then: Callable[[bool | None], None]) -> None:
        """Commit one more start of a redelivered message, then call ``then`` with whether it may start.

        If the message is locked, ``then`` is called with ``None`` before that: no slot needs to wait.
        """
        self._commit_start(message_id, lambda token: claim.count_start(token, [message_id], self._alias), then)

    def acknowledge(self, message_id: int, then: Callable[[bool | None], None]) -> None:
        """Commit that a message never runs again, then call ``then`` as ``count`` does."""
        self._commit_start(message_id, lambda token: claim.acknowledge(token, [message_id], self._alias), then)

    def _commit_start(
        self, message_id: int, commit: Callable[[str], Collection[int]], then: Callable[[bool | None], None]
    ) -> None:
        locked = False

        def call() -> None:
            nonlocal locked
            try:
                held = commit(self._lease.holder(message_id))
            except DatabaseError as error:
                if not locked and self._patience.met_lock(error):
                    locked = True
                    then(None)
                raise
            then(bool(held))

        self._add_write(message_id, call, lambda: self._refuse(message_id, then))

    def _refuse(self, message_id: int, then: Callable[[bool | None], None]) -> None:
        self._requeue_or_drop(message_id)
        then(False)

    def postpone(self, message: Claimed, delay: float) -> None:
        """Move a message that is not due into the schedule, ``delay`` seconds from now."""
        self._add_write_and_drop(message.id, lambda token: requeue.postpone(token, message, delay, self._alias))

    def discard(self, message_id: int) -> None:
        """Delete a message that is not authentic; its task keeps its state."""
        self._add_write_and_drop(message_id, lambda token: self._engine.delete_held(token, [message_id]))

    def requeue_rejected(self, message: Claimed) -> None:
        """Put a message that its task rejected behind the waiting messages."""
        self._add_write_and_drop(message.id, lambda token: requeue.requeue_rejected(token, message, self._alias))

    def drop(self, message_id: int) -> None:
        """Forget a message that another worker has taken over."""
        self._add_write(message_id, lambda: self._lease.drop(message_id))

    def requeue(self, message_ids: Sequence[int], uncount: Sequence[int] = ()) -> None:
        """Requeue messages without counting a start; for those in ``uncount`` a counted start is taken back."""
        together = partial(self._requeue_together, message_ids, uncount)
        self._add_write(_SEVERAL_MESSAGES, together, lambda: self._requeue_or_drop(*message_ids))

    def _requeue_together(self, message_ids: Sequence[int], uncount: Sequence[int]) -> None:
        """Requeue messages in one transaction; messages that wait for locked rows, or meet them, one by one later."""
        waiting = [message_id for message_id in message_ids if message_id in self._aside]
        try:
            self._requeue([message_id for message_id in message_ids if message_id not in waiting], uncount)
        except DatabaseError as error:
            if not self._patience.met_lock(error):
                raise
            waiting = list(message_ids)
        for message_id in waiting:
            alone = partial(self._requeue, [message_id], [i for i in uncount if i == message_id])
            self._aside.add(message_id, Write(message_id, alone, partial(self._requeue_or_drop, message_id)))

    def _requeue(self, message_ids: Sequence[int], uncount: Sequence[int] = ()) -> None:
        by_token: dict[str, list[int]] = {}
        for message_id in message_ids:
            by_token.setdefault(self._lease.holder(message_id), []).append(message_id)
        for token, ids in by_token.items():
            requeue.requeue(token, ids, self._alias, uncount=uncount)
        self._lease.drop(*message_ids)

    def requeue_lost(self, message_id: int, *, starts: int, **attempt: Any) -> None:
        """Requeue a message whose run died with its process, and write the attempt: see ``store.requeue``."""
        self._add_write_and_drop(
            message_id,
            lambda token: requeue.requeue_lost(token, message_id, deliveries=starts, alias=self._alias, **attempt),
        )

    def _add_write_and_drop(self, message_id: int, write: Callable[[str], object]) -> None:
        """Have ``write`` called with the token of a message, which this worker then holds no longer."""

        def call() -> None:
            write(self._lease.holder(message_id))
            self._lease.drop(message_id)

        self._add_write(message_id, call, lambda: self._requeue_or_drop(message_id))


def _each_message(note: Callable[[int], None], settlements: Iterable[Settlement]) -> None:
    for settlement in settlements:
        note(settlement.message_id)
