"""The page of one task: its context, and the same as JSON. Called by ``admin.runs.TaskRunAdmin``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest

from taskq import states, timezones
from taskq.conf import settings
from taskq.models import Attempt, Queue, TaskRun, Worker
from taskq_admin.admin.workers import WorkerAdmin
from taskq_admin.queries import (
    history,
    logs,
    payloads,
    progress,
    raw_message,
    runs,
    story,
    timeline,
    waiting,
)

if TYPE_CHECKING:
    from taskq_admin.admin.runs import TaskRunAdmin


def context(admin: TaskRunAdmin, request: HttpRequest, run: TaskRun) -> dict[str, Any]:
    """Return the task with its story, timeline, attempts, relatives and, if allowed, payloads."""
    now = timezones.now()
    visible = admin.has_payload_permission(request)
    past = runs.past(run, with_errors=visible)
    attempts = past.attempts
    tries = timeline.tries(run, attempts)
    found = waiting.facts(run, now)
    may = {"queue": admin.may_view(request, Queue), "worker": admin.may_view(request, Worker)}
    return {
        "run": run,
        "state": runs.shown_state(run),
        "story": story.story(run, tries, now),
        "live_story": story.live(run, tries),
        "reasons": [reason for reason in waiting.reasons(run, found, now) if may.get(reason.page, True)],
        "may_see": may,
        "workflow_root": found.root_id,
        "has_stack": _has_stack(admin, request, run),
        "tries": tries,
        "moments": timeline.moments(run, tries, past.events),
        "bars": (bars := timeline.bars(run, tries, now)),
        "drawn": timeline.drawn(bars),
        "strip_width": timeline.WIDTH,
        "waited": runs.waited(run),
        "relatives": past.relatives,
        "reruns": past.reruns,
        "earlier": past.earlier,
        "chart_width": history.WIDTH,
        "chart_height": history.HEIGHT,
        "payloads_visible": visible,
        "attempts": _attempts(tries, attempts, {}),
        # A task that waits for its second start has one in this table: what it raised is why it waits.
        "tried_before": bool(attempts),
        **_of_bulk(run),
        "keeps_logs": settings.KEEP_TASK_LOGS,
        **(_payloads(run, attempts, tries, found) if visible else {}),
    }


def _has_stack(admin: TaskRunAdmin, request: HttpRequest, run: TaskRun) -> bool:
    """Tell whether the task runs, and the user may see where it is."""
    runs_now = run.started_at is not None and run.state not in {*states.READY_STATES, states.RETRY}
    workers = admin.admin_site._registry.get(Worker)
    return runs_now and isinstance(workers, WorkerAdmin) and workers.may_see_stacks(request)


def _of_bulk(run: TaskRun) -> dict[str, Any]:
    """Return how far a task of the admin's own is, and what it reports: that is no payload of the project's."""
    if run.name != progress.BULK:
        return {}
    text = getattr(run, "cut_result", None)
    return {"progress": progress.progress(run.state, text), "report": progress.report(run.name, text)}


def _payloads(run: TaskRun, attempts: list[Attempt], tries: list[timeline.Try], found: waiting.Facts) -> dict[str, Any]:
    """Return what only those see who may see arguments and results; the first that is asked for gets the space."""
    space = payloads.Space()
    contents = runs.contents(run, space)
    past = runs.attempt_contents(attempts, space)
    has_run = bool(tries) and settings.KEEP_TASK_LOGS
    return {
        "contents": contents,
        "progress": progress.progress(run.state, getattr(run, "cut_result", None)),
        "attempts": _attempts(tries, attempts, past, contents.failure),
        "past_at_most": runs.FEW,
        "past_more": len(attempts) > runs.FEW,
        "logs": logs.kept(run.task_id, tries, space) if has_run else [],
        "raw": raw_message.shown(run, found, space),
    }


def _attempts(
    tries: list[timeline.Try],
    attempts: list[Attempt],
    past: Mapping[int, runs.Contents],
    failure: payloads.Failure | None = None,
) -> list[tuple[timeline.Try, runs.Contents | None]]:
    """Return the starts, the newest first, each with what it has raised if that was read."""
    contents = [past.get(row.pk) for row in attempts]
    # The traceback of the last one stands above.
    last = runs.Contents(None, None, None, failure, None) if failure else None
    contents += [last] * (len(tries) - len(contents))
    return list(zip(tries, contents, strict=True))[::-1]


def data(row: Mapping[str, Any], page: Mapping[str, Any]) -> dict[str, Any]:
    """Return the page as plain values: ``row`` are the columns of the list, ``page`` is the context.

    Payloads are texts, which are JSON if they are whole: a reader's own JSON might round large numbers.
    """
    found = {
        **row,
        "shown_state": page["state"],
        "story": page["story"],
        "reasons": [{"text": reason.text, "tone": reason.tone} for reason in page["reasons"]],
        "waited": page["waited"],
        "timeline": [{"label": str(m.label), "at": m.at} for m in page["moments"]],
        "attempts": [_attempt(start, contents) for start, contents in reversed(page["attempts"])],
        "children": [child.task_id for child in page["relatives"].children],
        "rerun_of": page["reruns"].of,
        "rerun_as": page["reruns"].again,
        "earlier": [{"id": each.pk, "state": each.state, "runtime": each.runtime} for each in page["earlier"]],
    }
    return found | _visible(page) if page["payloads_visible"] else found


def _attempt(start: timeline.Try, contents: runs.Contents | None) -> dict[str, Any]:
    plain = {
        "number": start.number,
        "state": start.state,
        "worker": start.worker,
        "started_at": start.started,
        "finished_at": start.finished,
        "earlier_run": start.earlier,
    }
    return plain | (_outcome(contents) if contents else {})


def _visible(page: Mapping[str, Any]) -> dict[str, Any]:
    contents: runs.Contents = page["contents"]
    return {
        "args": _text(contents.args),
        "kwargs": _text(contents.kwargs),
        **_outcome(contents),
        "progress": page["progress"] and page["progress"].percent,
        "logs": [
            {
                "attempt": log.attempt,
                "started_at": log.started_at,
                "cut": log.cut,
                "lines": [
                    {"left_out": line.left_out}
                    if line.left_out
                    else {"at": line.at, "level": line.level, "logger": line.logger, "text": line.text}
                    for line in log.lines
                ],
            }
            for log in page["logs"]
        ],
    }


def _outcome(contents: runs.Contents) -> dict[str, Any]:
    failure = contents.failure
    return {
        "result": _text(contents.result),
        "exception": failure and {"type": failure.type, "message": failure.message},
        "traceback": _text(contents.traceback),
    }


def _text(found: payloads.Payload | None) -> dict[str, str] | None:
    return None if found is None else {"text": found.text, "note": found.note}
