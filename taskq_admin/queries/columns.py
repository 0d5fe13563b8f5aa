"""What lists in a terminal and their JSON say of tasks: one plain row a task, by the queries of the pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from taskq.conf import settings
from taskq.models import TaskRun

from . import errors, listing, matching, runs
from .wanted import Wanted


def newest(wanted: Wanted, limit: int) -> tuple[list[dict[str, Any]], int | None]:
    """Return up to ``limit`` tasks, the newest first, and how many rows were looked at if there are older ones."""
    found = matching.find(wanted)
    if found.rows is not None:
        rows = list(found.rows.defer(*runs.LARGE)[:limit])
    else:
        by_id = TaskRun.objects.using(settings.DATABASE).filter(pk__in=found.ids[:limit])
        rows = list(by_id.defer(*runs.LARGE).order_by("-id"))
    return described(rows), found.looked_at


def described(rows: Iterable[TaskRun]) -> list[dict[str, Any]]:
    """Return rows without payloads as plain values, with what went wrong; times are texts of ISO 8601."""
    rows = list(rows)
    details = listing.details(rows)
    return [_row(run, details.get(run.pk) or listing.Detail()) for run in rows]


def _row(run: TaskRun, detail: listing.Detail) -> dict[str, Any]:
    return {
        "task_id": run.task_id,
        "name": run.name,
        "state": runs.shown_state(run),
        "queue": run.queue,
        "priority": run.priority,
        "worker": run.worker,
        "retries": run.retries,
        "created_at": _iso(run.created_at),
        "eta": _iso(run.eta),
        "started_at": _iso(run.started_at),
        "finished_at": _iso(run.finished_at),
        "runtime": run.runtime,
        "exception": detail.exception,
        "message": detail.message,
        "progress": detail.progress and detail.progress.words,
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def found_errors(limit: int) -> list[dict[str, Any]]:
    """Return the errors that were seen last, with how many tasks failed so within an hour, a day and a week."""
    return [
        {
            "error": each.error.key,
            "name": each.error.name,
            "exception": each.error.exception,
            "message": each.error.message,
            "first_seen": _iso(each.error.first_seen),
            "last_seen": _iso(each.error.last_seen),
            "sample": each.sample,
            **{span.key: count for span, count in zip(errors.SPANS, each.counts, strict=True)},
        }
        for each in errors.listed(list(errors.by_age()[:limit]))
    ]
