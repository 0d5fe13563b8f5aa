"""Progress: a running task's states, ``STARTED`` and its own, are written to its TaskRun."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import Exists

from taskq import states
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Message, TaskRun
from taskq.records import Progress


def write(token: str, reports: Sequence[Progress], alias: str | None = None) -> None:
    """Write the latest state of each task whose message ``token`` still holds; a final state stays as it is."""
    alias = alias or settings.DATABASE
    latest = {report.task_id: report for report in reports}
    with for_alias(alias).atomic():
        for task_id in sorted(latest):
            _write(token, latest[task_id], alias)


def _write(token: str, report: Progress, alias: str) -> None:
    held = Message.objects.using(alias).filter(id=report.message_id, token__unindexed=token)
    changes: dict[str, Any] = {
        "state": report.state,
        "result": report.meta,
        "content_type": report.content_type,
        "worker": report.worker,
    }
    at = datetime.fromtimestamp(report.at, UTC)
    if report.state == states.STARTED:
        changes["started_at"] = at
    runs = TaskRun.objects.using(alias).filter(task_id=report.task_id)
    if runs.filter(Exists(held)).exclude(state__in=states.READY_STATES).update(**changes):
        return
    if held.exists() and not runs.exists():
        TaskRun.objects.using(alias).create(
            task_id=report.task_id, name=report.name, queue=report.queue, created_at=at, **changes
        )
