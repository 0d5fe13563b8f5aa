"""Lines that tasks log, kept as rows while ``TASKQ_KEEP_TASK_LOGS`` is on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from taskq import clock
from taskq.conf import settings
from taskq.models import TaskLog


@dataclass(frozen=True, slots=True)
class Logged:
    """Some lines of a start of a task at ``started``, a Unix time; ``lines`` is JSON, as in ``TaskLog``."""

    task_id: str
    started: float
    lines: str


def write(logged: Sequence[Logged], alias: str) -> None:
    """Write lines in their order: one row for those of a start that come together, all in one statement or few.

    The caller sees to it that they are no more than a statement of the database may have.
    """
    together: dict[tuple[str, float], list[str]] = {}
    for each in logged:
        together.setdefault((each.task_id, each.started), []).append(each.lines)
    at = datetime.fromtimestamp(clock.now(), UTC)
    TaskLog.objects.using(alias).bulk_create(
        TaskLog(task_id=task_id, started_at=datetime.fromtimestamp(started, UTC), at=at, lines=_joined(lists))
        for (task_id, started), lists in together.items()
    )


def forget(task_ids: Sequence[str], alias: str) -> None:
    """Delete the lines of tasks that keep no row."""
    if task_ids and settings.KEEP_TASK_LOGS:
        TaskLog.objects.using(alias).filter(task_id__in=task_ids)._raw_delete(alias)


def _joined(lists: Sequence[str]) -> str:
    """Return JSON lists as one list, without reading them."""
    return lists[0] if len(lists) == 1 else f"[{','.join(text[1:-1] for text in lists)}]"
