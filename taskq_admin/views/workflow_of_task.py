"""The workflow of a task, on the task's page. Called by the template tag ``taskq_workflow``."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from taskq.models import TaskRun
from taskq_admin.actions.base import pages_of
from taskq_admin.badges import short
from taskq_admin.charts.workflow import picture
from taskq_admin.queries import workflows


def context(request: HttpRequest, run: TaskRun, known: str | None) -> dict[str, Any]:
    """Return the workflow, in which the task stands out; none if the task is part of none, or it may not be seen.

    ``known`` is its root if the page has looked it up, empty if the task has none.
    """
    pages = pages_of(request, "node")
    if pages is None or not pages.has_view_permission(request):
        return {"workflow": None}
    if known == "" or not page(request):
        return {"workflow": None}
    found = workflows.find(known) if known else workflows.find_of(run.task_id)
    if found is None or len(found.steps) < 2:
        return {"workflow": None}
    step = found.by_id.get(run.task_id)
    return {
        "request": request,
        "workflow": found,
        "picture": picture(found, run.task_id),
        "name": short(found.name or found.root_id),
        "why": workflows.why(found, step) if step else "",
        "runs_visible": True,
    }


def page(request: HttpRequest) -> str:
    """Return the address of workflows on this site; empty if it does not show them."""
    try:
        return reverse("admin:taskq_node_workflow", current_app=getattr(request, "current_app", None))
    except NoReverseMatch:
        return ""
