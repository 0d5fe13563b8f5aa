"""What ``store`` would write, kept in a dictionary: the rows of a test in memory.

The rules are those of ``store.enqueue`` and ``store.settle``: a final state stays,
an ignored success leaves no row, sending again under a settled id starts anew.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from taskq import states
from taskq.handover import Report
from taskq.models import TaskRun
from taskq.records import Settlement
from taskq.worker.loop.request import Request

if TYPE_CHECKING:
    from .message import SentTask


@dataclass(slots=True)
class Row:
    """A task's row, and the message that brought it, whose transaction it shares."""

    run: TaskRun
    message: SentTask | None = None

    @property
    def dropped(self) -> bool:
        """Whether it was rolled back."""
        return self.message is not None and self.message.fate.dropped


Rows = dict[str, Row]


def add(rows: Rows, message: SentTask) -> None:
    """Write the row of a task that was sent, if it is to have one."""
    envelope = message.envelope
    there = rows.get(message.id)
    stays = there is not None and not there.dropped and not (envelope.reset and states.is_final(there.run.state))
    if not envelope.tracked or stays:
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
    rows[message.id] = Row(run, message)


def is_final(rows: Rows, task_id: str) -> bool:
    """Tell whether a task has a row that says how it ended."""
    there = rows.get(task_id)
    return there is not None and not there.dropped and states.is_final(there.run.state)


def settle(rows: Rows, end: Settlement) -> None:
    """Write how a task ended."""
    if end.state == states.IGNORED or is_final(rows, end.task_id):
        return
    if not end.keep:
        rows.pop(end.task_id, None)
        return
    there = rows.get(end.task_id)
    if there is None or there.dropped:
        there = rows[end.task_id] = Row(_untracked(end))
    run = there.run
    run.state, run.result, run.content_type = end.state, end.result, end.content_type
    run.traceback, run.children, run.worker, run.retries = end.traceback, end.children, end.worker, end.retries
    run.started_at, run.finished_at, run.runtime = _moment(end.started), _moment(end.finished), end.runtime


def progress(rows: Rows, request: Request, report: Report) -> None:
    """Write a state that a running task has given itself."""
    there = rows.get(report.task_id)
    if there is None:
        message = request.message
        run = TaskRun(task_id=report.task_id, name=request.name, queue=message.queue, created_at=_at(report.at))
        there = rows[report.task_id] = Row(run)
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
