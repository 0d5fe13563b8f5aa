"""What the monitor shows, read at one moment by the queries of the overview and of the list of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from taskq import timezones
from taskq_admin.queries import columns, durations
from taskq_admin.queries.wanted import Wanted
from taskq_admin.views import overview

_ALL = frozenset({"TaskRun", "Queue", "Worker"})
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of the monitor: its title, the heads of its columns by their keys, and the key of a row's name."""

    key: str
    title: str
    heads: Mapping[str, str]
    name: str


QUEUES = Listing(
    "queues",
    "Queues",
    {"name": "QUEUE", "waiting": "WAITING", "claimed": "HELD", "scheduled": "SCHEDULED", "oldest": "OLDEST",
     "rates": "IN/OUT", "note": ""},
    "name",
)  # fmt: skip
WORKERS = Listing(
    "workers",
    "Workers",
    {"name": "WORKER", "state": "STATE", "pool": "POOL", "busy": "BUSY", "heard": "HEARD", "queues": "QUEUES"},
    "name",
)
RUNNING = Listing(
    "running",
    "Running",
    {"task_id": "ID", "name": "TASK", "queue": "QUEUE", "worker": "WORKER", "time": "FOR", "said": ""},
    "task_id",
)
FAILED = Listing(
    "failed",
    "Failed",
    {"task_id": "ID", "name": "TASK", "queue": "QUEUE", "time": "AGO", "said": "ERROR"},
    "task_id",
)
LISTS = (QUEUES, WORKERS, RUNNING, FAILED)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of the overview in one line, what needs attention, and the rows of the lists by their keys."""

    at: datetime
    figures: str = ""
    notices: list[str] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)


def take(limit: int) -> Snapshot:
    """Read everything; of running and failed tasks the newest ``limit``."""
    context = overview.overview(_ALL, None)
    return Snapshot(
        timezones.now(),
        "  ".join(f"{tile.label}: {tile.value}" for tile in context["tiles"]),
        [str(notice.text) for notice in context["notices"]],
        {
            QUEUES.key: [_queue(load) for load in context["queues"]],
            WORKERS.key: [_worker(*each) for each in context["workers"]],
            RUNNING.key: [_task(row, "started_at") for row in columns.newest(Wanted(tab="running"), limit)[0]],
            FAILED.key: [_task(row, "finished_at") for row in columns.newest(Wanted(tab="failed"), limit)[0]],
        },
    )


def _queue(load: Any) -> Row:
    notes = ["paused"] if load.pause is not None else []
    notes += [] if load.read else ["no worker reads it"]
    rates = [_rate(load.rate_in), _rate(load.rate_out)]
    return {
        "name": load.name,
        "waiting": load.waiting,
        "claimed": load.claimed,
        "scheduled": load.scheduled,
        "oldest": durations.words(load.oldest),
        "rates": "/".join(rates) if any(rates) else "",
        "paused": load.pause is not None,
        "note": ", ".join(notes),
    }


def _rate(per_minute: float | None) -> str:
    return "" if per_minute is None else f"{per_minute:.3g}"


def _worker(row: Any, info: Any, state: str) -> Row:
    activity = info.activity
    running = sum(bool(slot.task_id) for slot in activity.slots) + activity.folded_running
    return {
        "name": row.name,
        "state": state,
        "pool": f"{info.pool} {info.concurrency}".strip(),
        "busy": running,
        "heard": durations.words(_seconds(row.seen_at)),
        "queues": ",".join(info.queues),
    }


def _task(row: Row, since: str) -> Row:
    said = ": ".join(filter(None, (row["exception"], row["message"]))) or row["progress"] or ""
    at = row[since] or row["created_at"]
    return row | {"said": said, "time": durations.words(_seconds(datetime.fromisoformat(at)))}


def _seconds(at: datetime) -> int | None:
    seconds = durations.between(at, timezones.now())
    return None if seconds is None else max(0, int(seconds))
