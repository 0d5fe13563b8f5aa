"""The timeline: events of tasks as rows, written by workers that send events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from taskq.engines import for_alias
from taskq.models import TaskEvent


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a task at ``at``, a Unix time. The fields are those of ``TaskEvent``."""

    task_id: str
    kind: str
    at: float
    detail: str = ""


def write(worker: str, moments: Sequence[Moment], alias: str) -> None:
    """Write what a worker tells of tasks."""
    rows = [
        TaskEvent(
            task_id=moment.task_id,
            kind=moment.kind,
            at=datetime.fromtimestamp(moment.at, UTC),
            worker=worker,
            detail=moment.detail,
        )
        for moment in moments
    ]
    with for_alias(alias).atomic():
        TaskEvent.objects.using(alias).bulk_create(rows)
