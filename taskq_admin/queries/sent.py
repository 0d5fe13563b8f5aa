"""How many tasks are sent to each queue: from the newest rows alone, so that it costs the same in any table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from taskq import timezones
from taskq.conf import database_broker_alias, settings
from taskq.messages.parking import home
from taskq.models import TaskRun

#: The rows that are looked at, and the time of which the rate is the mean.
NEWEST, TIME = 1_000, timedelta(minutes=5)


def newest() -> QuerySet[Any, Any]:
    """Return the queues and times of the newest tasks, for ``rates``; none if they would not be told."""
    rows = TaskRun.objects.using(settings.DATABASE).order_by("-id") if _is_known() else TaskRun.objects.none()
    return rows.values_list("queue", "created_at")[:NEWEST]


def rates(rows: Sequence[tuple[str, datetime]]) -> dict[str, float] | None:
    """Return how many tasks a minute were sent to each queue, over the last minutes or the ``newest`` rows.

    ``None`` if rows are not written when tasks are sent: with another broker than the database, and without
    ``TASKQ_TRACK_PENDING``.
    """
    if not _is_known():
        return None
    now = timezones.now()
    recent = [(home(queue), at) for queue, at in rows if now - at < TIME]
    # If all of the newest rows are recent, older recent ones were not looked at.
    span = now - min(at for _, at in recent) if len(recent) == NEWEST else TIME
    minutes = max(span.total_seconds(), 1.0) / 60
    return {queue: count / minutes for queue, count in Counter(queue for queue, _ in recent).items()}


def _is_known() -> bool:
    return database_broker_alias() is not None and bool(settings.TRACK_PENDING)
