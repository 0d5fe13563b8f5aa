"""The overview, on the first page of the section: tiles, a chart, queues, workers, and what needs attention."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from taskq import timezones
from taskq.conf import settings
from taskq.models import Worker
from taskq_admin.charts.columns import HEIGHT, WIDTH, stacked
from taskq_admin.queries import attention, durations, queues, throughput, times, workers
from taskq_admin.queries.tabs import tab_counts
from taskq_admin.queries.throughput import DAY, SPANS, Period, Span, span_for

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
    """Return the context of the overview; ``visible`` are the models whose rows the user may see.

    At most ten statements. How much they read depends on the number of queues and workers, not on that of tasks and
    of their names.
    """
    span, now = span_for(span_key), timezones.now()
    context: dict[str, Any] = {"tiles": [], "notices": [], "is_new": False}
    known = queues.around() if {"Queue", "Worker"}.intersection(visible) else None
    spans = (DAY, span) if "TaskRun" in visible else ()
    found = queues.overview((settings.DEFAULT_QUEUE,), known, spans) if "Queue" in visible else None
    if spans:
        _add_tasks(context, span, throughput.read(spans).spans if found is None else found.spans)
    if found is not None:
        _add_queues(context, found, with_readers="Worker" in visible)
        context["notices"] += attention.of_schedule(found.schedule, now, names="TaskRun" in visible)
    rows = known.workers if known else []
    if "Worker" in visible:
        _add_workers(context, rows)
    if {"Queue", "Worker"}.issubset(visible):
        context["notices"] += attention.of_retention(rows, now) + attention.of_database()
        context["is_new"] = _is_new(context)
    return context


def _is_new(context: dict[str, Any]) -> bool:
    """Tell whether nothing has ever run here, as far as the page knows: it then says how to begin."""
    idle = not any(load.waiting or load.claimed or load.scheduled for load in context["queues"])
    return not context["workers"] and idle and not any(each.total for each in context.get("columns", ()))


def _add_tasks(context: dict[str, Any], span: Span, ended: Mapping[str, list[Period]]) -> None:
    counts, failed = tab_counts(), sum(period.failed for period in ended[DAY.key])
    context["columns"] = ended[span.key]
    context["tiles"] += [
        Tile(_("Waiting"), str(counts["waiting"]), "taskrun", "?tab=waiting"),
        Tile(_("Running"), str(counts["running"]), "taskrun", "?tab=running"),
        Tile(_("Scheduled"), str(counts["scheduled"]), "taskrun", "?tab=scheduled"),
        Tile(_("Failed in 24 h"), f"{failed:,}", "taskrun", "?tab=failed", "bad" if failed else ""),
    ]
    context["chart"] = _chart(span, context["columns"])
    context["times"], context["shares"] = times.summary(span), list(times.SHARES)
    context["notices"] += attention.of_failures(context["times"].failing)


def _chart(span: Span, columns: list[Period]) -> dict[str, Any]:
    parts = stacked([(each.succeeded, each.revoked, each.failed) for each in columns])
    return {
        "span": span,
        "spans": SPANS,
        "columns": list(zip(columns, parts, strict=True)),
        "first": columns[0].start,
        "ended": sum(each.total for each in columns),
        "succeeded": sum(each.succeeded for each in columns),
        "failed": sum(each.failed for each in columns),
        "revoked": sum(each.revoked for each in columns),
        "retried": sum(each.retried for each in columns),
        "most": max(each.total for each in columns),
        "width": WIDTH,
        "height": HEIGHT,
        "off": not settings.STATISTICS,
    }


def _add_queues(context: dict[str, Any], found: queues.Overview, with_readers: bool) -> None:
    waits = [load.oldest for load in found.queues if load.oldest is not None]
    context["queues"] = found.queues
    context["tiles"].append(Tile(_("Oldest wait"), durations.words(max(waits)) if waits else "-", "queue"))
    context["notices"] += attention.of_queues(found.queues, with_readers, capped=found.more)


def _add_workers(context: dict[str, Any], every: Iterable[Worker]) -> None:
    now, rows = timezones.now(), [row for row in every if row.state != Worker.CONSUMER]
    alive = [row for row in rows if not workers.is_away(row, now)]
    context["tiles"].append(Tile(_("Workers"), str(len(alive)), "worker", tone="" if alive else "bad"))
    context["workers"] = [
        (row, workers.info(row), "silent" if row.state != Worker.LOST and row not in alive else row.state)
        for row in rows[:MANY_WORKERS]
    ]
    context["notices"] += attention.of_workers(rows, now)


# -- as JSON


def data(context: dict[str, Any], *, names: bool) -> dict[str, Any]:
    """Return the overview as plain values; ``names`` of running tasks only for those who may see tasks."""
    found: dict[str, Any] = {
        "tiles": [{"label": str(tile.label), "value": tile.value} for tile in context["tiles"]],
        "notices": [notice.text for notice in context["notices"]],
    }
    if "chart" in context:
        found["chart"] = {
            "span": context["chart"]["span"].key,
            "periods": [period_data(period) for period in context["columns"]],
        }
        found["times"] = _times(context["times"], "queues" in context)
    if "queues" in context:
        found["queues"] = [queues.data(load, readers="workers" in context) for load in context["queues"]]
    if "workers" in context:
        found["workers"] = [workers.data(row, info, state, names=names) for row, info, state in context["workers"]]
    return found


def _times(summary: times.Summary, with_queues: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "all": times.data(summary.total),
        "tasks": [{"name": name, **times.data(each)} for name, each in summary.tasks],
    }
    if with_queues:
        found["queues"] = [{"name": name, **times.data(each)} for name, each in summary.queues]
    return found


def period_data(period: Period) -> dict[str, Any]:
    """Return what ended in a period as plain values."""
    counts: Sequence[str] = ("succeeded", "failed", "retried", "revoked")
    return {"start": period.start.isoformat(), **{name: getattr(period, name) for name in counts}}
