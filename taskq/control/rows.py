"""Reads the schedule and revoked ids for commands, on the store thread: few rows at a time, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from taskq import states
from taskq.messages.protocol import MOST_OUTSIDE
from taskq.models import Revocation, ScheduledMessage, TaskRun
from taskq.store.texts import without_texts

from . import taskinfo

#: The most tasks of the schedule, and the most ids that were revoked before and after they were sent, in one reply.
MOST_SCHEDULED, MOST_REVOKED, MOST_ENDED = 500, 10_000, 1_000
#: The priority of a timer in Celery's replies.
_PRIORITY = 6


def scheduled(
    queues: Sequence[str], hostname: str, alias: str, ids: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return the tasks that are due later in ``queues``, those first that are due first; of ``ids`` if given."""
    found = ScheduledMessage.objects.using(alias).filter(queue__in=queues).order_by("due_at", "id")
    if ids is not None:
        found = found.filter(task_id__in=ids)
    return [
        {
            "eta": message.due_at.isoformat(),
            "priority": _PRIORITY,
            "request": taskinfo.message_info(message, message.task_id, message.name, _headers(message), hostname),
        }
        for message in without_texts(found[:MOST_SCHEDULED], MOST_OUTSIDE)
    ]


def _headers(message: ScheduledMessage) -> dict[str, Any]:
    try:
        found = json.loads(message.headers)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def revoked(alias: str) -> list[str]:
    """Return the ids of tasks that were revoked before they were sent, the latest ones."""
    rows = Revocation.objects.using(alias).order_by("-created_at")
    return list(rows.values_list("revoked_id", flat=True)[:MOST_REVOKED])


def ended_by_revoking(alias: str) -> list[str]:
    """Return the ids of tasks that have ended as revoked, or expired, the latest ones."""
    rows = TaskRun.objects.using(alias).filter(state=states.REVOKED).order_by("-finished_at")
    return list(rows.values_list("task_id", flat=True)[:MOST_ENDED])
