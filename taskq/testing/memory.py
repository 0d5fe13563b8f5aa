"""``Memory``: broker, database and worker of a test, all in one object and nothing of it shared.

``override`` makes it the publisher's sink and the backend of results. A message is
encoded, kept and run as in earnest; only what the rows would hold is kept here.
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

from taskq import states
from taskq.handover import Report
from taskq.records import Envelope, NewGroup, NewNode, Settlement
from taskq.timezones import to_utc
from taskq.worker.loop import settlements
from taskq.worker.loop.request import Request
from taskq.workflows import errbacks
from taskq.workflows.advance import REVOKED_RESULT
from taskq.workflows.followups import complete
from taskq.workflows.memory import MemoryWorkflows

from . import runner
from .memory_results import MemoryResults
from .message import SentTask, SentTasks
from .rows import MemoryRuns

#: For ``drain(until=FOREVER)``: everything, whenever it is due.
FOREVER = datetime.max.replace(tzinfo=UTC)
#: Runs in one ``drain`` after which it gives up.
MOST_RUNS = 10_000


class Ended(NamedTuple):
    """One run of ``drain``: a task that is retried is there once for each try."""

    name: str
    task_id: str
    state: str


class Memory(MemoryResults):
    """What was sent and what became of it. ``inline`` runs each task as soon as a worker would see it.

    With ``propagate`` the exception of a task that fails is raised where it ran.
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
        self._watched = []
        self._busy = threading.local()

    # -- sending

    @property
    def sent(self) -> SentTasks:
        """The tasks that were sent and not rolled back, in order. A task's retries are not in it."""
        return SentTasks(lambda: [message for message in self._sent if not message.fate.dropped])

    @property
    def waiting(self) -> SentTasks:
        """The messages that have not run: retries too, and what is due later."""
        return SentTasks(lambda: [message for message in self._waiting if not message.fate.dropped])

    def accept_workflow(self, groups: Sequence[NewGroup], nodes: Sequence[NewNode]) -> None:
        """Take the groups and nodes of a workflow, before its messages; this is the publisher's sink for them."""
        with self._lock:
            self._workflows.start(groups, nodes)

    def accept(self, envelopes: Sequence[Envelope]) -> None:
        """Take messages; this is the publisher's sink."""
        for envelope in envelopes:
            self._keep(envelope)
        self._run_visible()

    def _keep(self, envelope: Envelope, again: bool = False) -> None:
        """Keep a message; ``again`` is for one more try of a task that is listed and has its row."""
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
        """Run what is due, and what follows from it, until nothing is left; return each run in order.

        ``queue`` limits it to one queue. ``until`` is the moment, or the time from
        now, up to which scheduled tasks count as due, retries among them; the clock
        is not changed. ``propagate`` raises the exception of a task that fails; the
        default is what ``override`` was told.
        """
        raises = self.propagate if propagate is None else propagate
        with self._at_work():
            return self._drain(queue, _unix(until), raises)

    async def adrain(self, *args: Any, **kwargs: Any) -> list[Ended]:
        """Do what ``drain`` does, from a coroutine."""
        return await sync_to_async(self.drain)(*args, **kwargs)

    def _drain(self, queue: str | None, horizon: float | None, raises: bool) -> list[Ended]:
        ended: list[Ended] = []
        refused: set[int] = set()
        while (message := self._next(queue, horizon, refused)) is not None:
            if len(ended) + len(refused) >= MOST_RUNS:
                raise RuntimeError(f"drain() has run {MOST_RUNS} tasks and there are more: do they send one another?")
            ran = runner.run(message.claimed(), self._report)
            if ran.settlement is None:
                refused.add(message.number)
                self._waiting.append(message)
                continue
            self._settle(ran.settlement, message)
            ended.append(Ended(ran.name, message.id, ran.settlement.state))
            if raises and ran.exception is not None:
                self._call_errbacks()
                raise ran.exception
        return ended

    def _call_errbacks(self) -> None:
        """Have errbacks with a request called before the exception, which ends the work, goes to the test."""
        while (message := self._next(None, None, set(), errbacks.TASK)) is not None:
            ran = runner.run(message.claimed(), self._report)
            if ran.settlement is not None:
                self._settle(ran.settlement, message)

    def _next(
        self, queue: str | None, horizon: float | None, refused: set[int], name: str | None = None
    ) -> SentTask | None:
        """Take the message that a worker would take next: the most urgent, then the one that is due first."""
        now = time.time() if horizon is None else horizon
        with self._lock:
            due = [
                message
                for message in self._waiting
                if message.due <= now
                and (queue is None or message.queue == queue)
                and (name is None or message.name == name)
                and message.number not in refused
                and message.fate.visible
            ]
            if not due:
                return None
            message = min(due, key=lambda m: (-m.priority, m.due, m.number))
            self._waiting.remove(message)
            return message

    def _run_visible(self) -> None:
        """Run what a worker would see now, if that is wanted and not being done further up in this thread."""
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
        self._call_watchers()

    def _follow(self, envelope: Envelope) -> None:
        """Keep a message that follows from a task's end; what runs under an id that was sent is one more try."""
        self._keep(envelope, again=any(message.id == envelope.task_id for message in self._sent))

    def _report(self, request: Request, report: Report) -> None:
        if request.message.tracked or not settlements.ignores(request):
            with self._lock:
                self._runs.progress(request, report)

    # -- revoking

    def revoke(self, ids: Sequence[str], terminate: str) -> None:
        """Take out of the queue what has not run, and what follows from it in its workflow: it reads ``REVOKED``."""
        with self._lock:
            # A run that is not final does not prove that a message exists: a replaced task keeps its id, and its
            # replacement may not have been sent.
            ended = {task_id for task_id in self._runs.rows if self._runs.is_final(task_id)}
            sent = {message.id for message in self._waiting} | ended | self._workflows.ended
            wanted, unsent = self._workflows.cascade(ids, sent)
            revoked = [message for message in self._waiting if message.id in wanted and not message.fate.dropped]
            self._waiting = [message for message in self._waiting if message not in revoked]
            # What else is revoked here is final before the rule for failures comes to it.
            for task_id in sorted(unsent):
                self._workflows.revoke_unsent(task_id)
            ends = [complete(_revoked(message), message.claimed()) for message in revoked]
            for end in sorted(ends, key=lambda end: end.linked):
                self._workflows.settle(end)
        self._call_watchers()


def _unix(until: datetime | timedelta | None) -> float | None:
    if until is None:
        return None
    if isinstance(until, timedelta):
        return time.time() + until.total_seconds()
    return float("inf") if until == FOREVER else to_utc(until).timestamp()


def _revoked(message: SentTask) -> Settlement:
    return Settlement(
        message_id=message.number,
        task_id=message.id,
        state=states.REVOKED,
        name=message.name,
        queue=message.queue,
        result=REVOKED_RESULT,
        finished=time.time(),
    )
