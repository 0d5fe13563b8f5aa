"""Progress: the TaskRun of a running task gets its worker, the time of its start, and states: ``STARTED``, its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import Case, Exists, F, Value, When

from taskq import states
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Message, TaskRun
from taskq.models.fields import KeyField
from taskq.records import Progress

from .sealed_values import sealed_type


def write(token: str, reports: Sequence[Progress], alias: str | None = None) -> None:
    """Write the latest state of each task whose message ``token`` still holds; a final state stays as it is."""
    alias = alias or settings.DATABASE
    latest = {(report.task_id, report.state is None): report for report in reports}
    with for_alias(alias).atomic():
        for key in sorted(latest):
            _write(token, latest[key], alias)


def forget_starts(task_ids: Sequence[str], alias: str) -> None:
    """Note that tasks run no more, and will run again: no worker, no start, ``PENDING`` instead of ``STARTED``."""
    chunk = for_alias(alias).chunk
    waits = When(state=states.STARTED, then=Value(states.PENDING))
    state = Case(waits, default=F("state"), output_field=KeyField())
    for start in range(0, len(task_ids), chunk):
        runs = TaskRun.objects.using(alias).filter(task_id__in=task_ids[start : start + chunk])
        started = runs.filter(started_at__isnull=False).exclude(state__in=states.READY_STATES)
        started.update(worker="", started_at=None, state=state)


def _write(token: str, report: Progress, alias: str) -> None:
    held = Message.objects.using(alias).filter(id=report.message_id, token__unindexed=token)
    changes: dict[str, Any] = {"worker": report.worker}
    at = datetime.fromtimestamp(report.at, UTC)
    if report.state is not None:
        content_type = sealed_type(report.content_type, report.meta, report.task_id, report.state)
        changes |= {"state": report.state, "result": report.meta, "content_type": content_type}
    if report.state in (None, states.STARTED):
        changes["started_at"] = at
    runs = TaskRun.objects.using(alias).filter(task_id=report.task_id)
    if runs.filter(Exists(held)).exclude(state__in=states.READY_STATES).update(**changes):
        return
    changes.setdefault("state", states.PENDING)
    if held.exists() and not runs.exists():
        TaskRun.objects.using(alias).create(
            task_id=report.task_id, name=report.name, queue=report.queue, created_at=at, **changes
        )
