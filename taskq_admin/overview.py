"""The overview, on the first page of the section: tiles, a chart, queues, workers, and what needs attention."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from taskq import timezones
from taskq.conf import settings
from taskq.models import Worker

from .charts.columns import HEIGHT, WIDTH, stacked
from .queries import attention, durations, queues, workers
from .queries.tabs import tab_counts
from .queries.throughput import SPANS, Period, Span, periods, span_for

#: Workers that are shown at most.
MANY_WORKERS = 50


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure with what it counts, and the list that it leads to."""

    label: str | Promise
    value: str
    page: str = ""
    query: str = ""
    tone: str = ""


def overview(visible: Collection[str], span_key: str | None) -> dict[str, Any]:
    """Return the context of the overview; ``visible`` are the models whose rows the user may see."""
    context: dict[str, Any] = {"tiles": [], "notices": []}
    if "TaskRun" in visible:
        _add_tasks(context, span_for(span_key))
    if "Queue" in visible:
        _add_queues(context, with_readers="Worker" in visible)
    if "Worker" in visible:
        _add_workers(context)
    if {"Queue", "Worker"}.issubset(visible):
        context["notices"] += attention.of_duties(timezones.now())
    return context


def _add_tasks(context: dict[str, Any], span: Span) -> None:
    counts, columns = tab_counts(), periods(span)
    hour, day = (columns if span is other else periods(other) for other in SPANS[:2])
    failed = sum(period.failed for period in day)
    context["tiles"] += [
        Tile(_("Running"), str(counts["running"]), "taskrun", "?tab=running"),
        Tile(_("Waiting"), str(counts["waiting"]), "taskrun", "?tab=waiting"),
        Tile(_("Failed in 24 h"), f"{failed:,}", "taskrun", "?tab=failed", "bad" if failed else ""),
    ]
    context["notices"] += attention.of_failures(hour)
    context["chart"] = _chart(span, columns)


def _chart(span: Span, columns: list[Period]) -> dict[str, Any]:
    parts = stacked([(each.succeeded, each.revoked, each.failed) for each in columns])
    return {
        "span": span,
        "spans": SPANS,
        "columns": list(zip(columns, parts, strict=True)),
        "ended": sum(each.total for each in columns),
        "failed": sum(each.failed for each in columns),
        "revoked": sum(each.revoked for each in columns),
        "retried": sum(each.retried for each in columns),
        "most": max(each.total for each in columns),
        "width": WIDTH,
        "height": HEIGHT,
        "off": not settings.STATISTICS,
    }


def _add_queues(context: dict[str, Any], with_readers: bool) -> None:
    found = queues.overview((settings.DEFAULT_QUEUE,))
    waits = [load.oldest for load in found.queues if load.oldest is not None]
    context["queues"] = found.queues
    context["tiles"].append(Tile(_("Oldest wait"), durations.words(max(waits)) if waits else "-", "queue"))
    context["notices"] += attention.of_queues(found.queues, with_readers)


def _add_workers(context: dict[str, Any]) -> None:
    now, rows = timezones.now(), [row for row in workers.listed().order_by("name") if row.state != Worker.CONSUMER]
    alive = [row for row in rows if not workers.is_away(row, now)]
    context["tiles"].append(Tile(_("Workers"), str(len(alive)), "worker", tone="" if alive else "bad"))
    context["workers"] = [
        (row, workers.info(row), "silent" if row.state != Worker.LOST and row not in alive else row.state)
        for row in rows[:MANY_WORKERS]
    ]
    context["notices"] += attention.of_workers(rows, now)
