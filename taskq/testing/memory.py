"""``Memory``: broker, database and worker of one test, in one object.

``override`` makes it the publisher's sink and the backend of results. Messages are encoded and run as by a
worker; only their rows are objects in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async

from taskq.handover import Report
from taskq.records import Envelope, NewGroup, NewNode, Settlement
from taskq.timezones import to_utc
from taskq.worker.loop import settlements
from taskq.worker.loop.request import Request
from taskq.workflows import errbacks
from taskq.workflows.advance import revoked
from taskq.workflows.followups import complete
from taskq.workflows.memory import MemoryWorkflows

from . import runner
from .memory_results import MemoryResults
from .message import SentTask, SentTasks
from .rows import MemoryRuns

#: For ``drain(until=FOREVER)``: all scheduled tasks are due.
FOREVER = datetime.max.replace(tzinfo=UTC)
#: The most runs in one ``drain``; then it raises ``RuntimeError``.
MOST_RUNS = 10_000


class Ended(NamedTuple):
    """One run of ``drain``; a retried task has a run for each try."""

    name: str
    task_id: str
    state: str


class Memory(MemoryResults):
    """The sent tasks and their results. ``inline`` runs each task as soon as a worker would see it.

    ``propagate`` raises the exception of a failing task.
    """

    def __init__(self, *, inline: bool = False, propagate: bool = False) -> None:
        self.inline = inline
        self.propagate = propagate
        self._lock = threading.RLock()
        self._numbers = count(1)
        self._sent: list[SentTask] = []
        self._waiting: list[SentTask] = []
        self._runs = MemoryRuns(self._follow)
        self._workflows = MemoryWorkflows(self._runs)
        self._saved = {}
        self._remembered = {}
        self._watched = []
        self._busy = threading.local()

    # -- sending

    @property
    def sent(self) -> SentTasks:
        """The tasks that were sent and not rolled back, in order, without retries."""
        return SentTasks(lambda: [message for message in self._sent if not message.transaction.rolled_back])

    @property
    def waiting(self) -> SentTasks:
        """The messages that have not run, also retries and scheduled messages."""
        return SentTasks(lambda: [message for message in self._waiting if not message.transaction.rolled_back])

    def accept_workflow(self, groups: Sequence[NewGroup], nodes: Sequence[NewNode]) -> None:
        """Take the groups and nodes of a workflow, before its messages: the publisher's sink for workflows."""
        with self._lock:
            self._workflows.start(groups, nodes)

    def accept(self, envelopes: Sequence[Envelope]) -> None:
        """Take messages: the publisher's sink."""
        for envelope in envelopes:
            self._keep(envelope)
        self._revoke_remembered()
        self._run_visible()

    def _keep(self, envelope: Envelope, again: bool = False) -> None:
        """Keep a message; ``again`` is for another try of a task, which is in ``sent`` and has its row."""
        message = SentTask(envelope, next(self._numbers), self._run_visible)
        with self._lock:
            self._waiting.append(message)
            if not again:
                self._sent.append(message)
                self._runs.add(message)

    # -- running

    def drain(
        self,
        queue: str | None = None,
        until: datetime | timedelta | None = None,
        *,
        propagate: bool | None = None,
    ) -> list[Ended]:
        """Run due tasks and their follow-ups until none is left; return the runs in order: ``memory.drain()``.

        ``queue`` limits it to one queue. Scheduled tasks and retries are due ``until`` a moment or a time from now; the
        clock is not changed. ``propagate`` raises the exception of a failing task; the default is that of ``override``.
        """
        raises = self.propagate if propagate is None else propagate
        with self._at_work():
            return self._drain(queue, _unix(until), raises)

    async def adrain(self, *args: Any, **kwargs: Any) -> list[Ended]:
        """Do ``drain`` from a coroutine."""
        return await sync_to_async(self.drain)(*args, **kwargs)

    def _drain(self, queue: str | None, horizon: float | None, raises: bool) -> list[Ended]:
        ended: list[Ended] = []
        refused: set[int] = set()
        while (message := self._next(queue, horizon, refused)) is not None:
            if len(ended) + len(refused) >= MOST_RUNS:
                raise RuntimeError(f"drain() has run {MOST_RUNS} tasks, and more are waiting: do they send each other?")
            result = runner.run(message.claimed(), self._report, in_memory=True)
            if result.settlement is None:
                refused.add(message.number)
                message.requeue()
                self._waiting.append(message)
                continue
            self._settle(result.settlement, message)
            ended.append(Ended(result.name, message.id, result.settlement.state))
            if raises and result.exception is not None:
                self._call_errbacks()
                raise result.exception
        return ended

    def _call_errbacks(self) -> None:
        """Call new-style errbacks before the exception ends ``drain``."""
        for name in (errbacks.MANY, errbacks.TASK):
            while (message := self._next(None, None, set(), name)) is not None:
                result = runner.run(message.claimed(), self._report, in_memory=True)
                if result.settlement is not None:
                    self._settle(result.settlement, message)

    def _next(
        self, queue: str | None, horizon: float | None, refused: set[int], name: str | None = None
    ) -> SentTask | None:
        """Take the next message of a worker: by priority, then by due time."""
        now = time.time() if horizon is None else horizon
        with self._lock:
            due = [
                message
                for message in self._waiting
                if message.due <= now
                and (queue is None or message.queue == queue)
                and (name is None or message.name == name)
                and message.number not in refused
                and message.transaction.visible
            ]
            if not due:
                return None
            message = min(due, key=lambda m: (-m.priority, m.due, m.number))
            self._waiting.remove(message)
            return message

    def _run_visible(self) -> None:
        """With ``inline``, run the messages that a worker would see, unless this thread is doing so already."""
        if self.inline and not getattr(self._busy, "depth", 0):
            self.drain()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._busy.depth = getattr(self._busy, "depth", 0) + 1
        try:
            yield
        finally:
            self._busy.depth -= 1

    def _settle(self, settlement: Settlement, message: SentTask) -> None:
        with self._lock:
            self._runs.ending = message.claimed()
            self._workflows.settle(settlement)
        self._revoke_remembered()
        self._call_watchers()

    def _follow(self, envelope: Envelope) -> None:
        """Keep a follow-up; if its id was sent before, it is another try."""
        self._keep(envelope, again=any(message.id == envelope.task_id for message in self._sent))

    def _report(self, request: Request, report: Report) -> None:
        if request.message.tracked or not settlements.ignores(request):
            with self._lock:
                self._runs.progress(request, report)

    # -- revoking

    def revoke(self, ids: Sequence[str], terminate: str) -> None:
        """Revoke waiting messages and their dependents: their runs become ``REVOKED``. Unknown ids are remembered."""
        with self._lock:
            known = {message.id for message in self.sent} | self._runs.rows.keys() | self._workflows.known()
            self._remembered |= dict.fromkeys(set(ids) - known, time.time())
        self._revoke(ids)

    def _revoke_remembered(self) -> None:
        """Revoke tasks that wait now, or are in a workflow, and were revoked before they were sent."""
        with self._lock:
            if self._remembered:
                there = {message.id for message in self._waiting} | self._workflows.nodes.keys()
                known = [
                    i for i in self._remembered if i in there and self._was_revoked(i) and not self._runs.is_final(i)
                ]
                if known:
                    self._revoke(known)

    def _revoke(self, ids: Sequence[str]) -> None:
        with self._lock:
            # A run that is not final does not prove that a message exists: a replaced task keeps its id, and its
            # replacement may not have been sent.
            ended = {task_id for task_id in self._runs.rows if self._runs.is_final(task_id)}
            sent = {message.id for message in self._waiting} | ended | self._workflows.ended
            wanted, unsent = self._workflows.cascade(ids, sent)
            found = [m for m in self._waiting if m.id in wanted and not m.transaction.rolled_back]
            self._waiting = [message for message in self._waiting if message not in found]
            ends = [complete(revoked(m.number, m.id, m.name, queue=m.queue), m.claimed()) for m in found]
            # All at once: a task that is revoked must not fail dependents that are revoked with it.
            self._workflows.settle(*ends, *(self._workflows.revoked(task_id) for task_id in unsent))
        self._call_watchers()


def _unix(until: datetime | timedelta | None) -> float | None:
    if until is None:
        return None
    if isinstance(until, timedelta):
        return time.time() + until.total_seconds()
    return float("inf") if until == FOREVER else to_utc(until).timestamp()
