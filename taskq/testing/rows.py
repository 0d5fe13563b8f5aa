"""The runs of a test in memory, as unsaved ``TaskRun`` rows.

The rules are those of ``store.enqueue`` and ``store.settle``: a final state stays, an ignored success leaves no row,
and sending again under a settled id resets the row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from taskq import states
from taskq.handover import Report
from taskq.models import TaskRun
from taskq.records import Claimed, Envelope, Settlement
from taskq.worker.loop.request import Request
from taskq.workflows.memory import Runs

if TYPE_CHECKING:
    from .message import SentTask


@dataclass(slots=True)
class Row:
    """A task's row, and its message, whose transaction it shares."""

    run: TaskRun
    message: SentTask | None = None

    @property
    def rolled_back(self) -> bool:
        """Whether the row was rolled back."""
        return self.message is not None and self.message.transaction.rolled_back


@dataclass(slots=True)
class MemoryRuns(Runs):
    """Rows by task id. ``follow`` takes a follow-up; ``ending`` is the message of the task that ends now."""

    follow: Callable[[Envelope], object]
    rows: dict[str, Row] = field(default_factory=dict)
    ending: Claimed | None = None

    def present(self, task_id: str) -> TaskRun | None:
        """Return the row of a task that was not rolled back."""
        there = self.rows.get(task_id)
        return None if there is None or there.rolled_back else there.run

    def add(self, message: SentTask) -> None:
        """Write the row of a sent task, if the task is tracked."""
        envelope = message.envelope
        there = self.present(message.id)
        if not envelope.tracked or (there is not None and not (envelope.reset and states.is_final(there.state))):
            return
        headers = envelope.headers
        run = TaskRun(
            task_id=envelope.task_id,
            name=envelope.name,
            queue=envelope.queue,
            priority=envelope.priority,
            arguments=envelope.arguments,
            root_id=headers.get("root_id") or "",
            parent_id=headers.get("parent_id") or "",
            group_id=headers.get("group") or "",
            retries=headers.get("retries") or 0,
            created_at=_at(message.sent_at),
            eta=message.eta,
            expires_at=message.expires,
        )
        self.rows[message.id] = Row(run, message)

    def is_final(self, task_id: str) -> bool:
        run = self.present(task_id)
        return run is not None and states.is_final(run.state)

    def write(self, settlement: Settlement) -> None:
        end = settlement
        if self.is_final(end.task_id):
            return
        if end.state == states.IGNORED:
            self._finish_pending(end)
            return
        if not end.keep:
            self.rows.pop(end.task_id, None)
            return
        run = self.present(end.task_id)
        if run is None:
            run = _untracked(end)
            self.rows[end.task_id] = Row(run)
        run.state, run.result, run.content_type = end.state, end.result, end.content_type
        run.traceback, run.children, run.worker, run.retries = end.traceback, end.children, end.worker, end.retries
        run.started_at, run.runtime = _moment(end.started), end.runtime
        run.finished_at = _at(end.finished or time.time())

    def _finish_pending(self, end: Settlement) -> None:
        """Finish the run of a task that ended without a state: its own state stays, a pending run is deleted."""
        run = self.present(end.task_id)
        if run is None or end.replaced:
            return
        if run.state == states.PENDING:
            self.delete(end.task_id)
        else:
            run.finished_at = run.finished_at or _at(end.finished or time.time())

    def value(self, task_id: str) -> tuple[str, str | None, str] | None:
        run = self.present(task_id)
        return None if run is None else (run.state, run.result, run.content_type)

    def delete(self, task_id: str) -> None:
        self.rows.pop(task_id, None)

    def message(self, settlement: Settlement) -> Claimed | None:
        return self.ending

    def send(self, envelope: Envelope) -> None:
        self.follow(envelope)

    def progress(self, request: Request, report: Report) -> None:
        """Write a custom state of a running task."""
        there = self.rows.get(report.task_id)
        if there is None:
            message = request.message
            run = TaskRun(task_id=report.task_id, name=request.name, queue=message.queue, created_at=_at(report.at))
            there = self.rows[report.task_id] = Row(run)
        run = there.run
        if states.is_final(run.state):
            return
        run.state, run.result, run.content_type = report.state, report.meta, report.content_type
        if report.state == states.STARTED:
            run.started_at = _moment(report.at)


def _untracked(end: Settlement) -> TaskRun:
    return TaskRun(
        task_id=end.task_id,
        name=end.name,
        queue=end.queue,
        arguments=end.arguments,
        root_id=end.root_id,
        parent_id=end.parent_id,
        group_id=end.group_id,
        created_at=_at(end.started or end.finished or time.time()),
    )


def _at(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)


def _moment(unix: float | None) -> datetime | None:
    return None if unix is None else _at(unix)
