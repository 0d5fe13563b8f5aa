"""Template tags of workflows (``{% load taskq_workflows %}``). ``{% taskq_workflow run %}`` is for a task's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import template
from django.template import Context
from django.urls import reverse
from django.utils.http import urlencode

from taskq.models import TaskRun
from taskq_admin import charts, queries, views
from taskq_admin.badges import short

if TYPE_CHECKING:
    from taskq_admin.charts.workflow import Shape
    from taskq_admin.queries.workflows import Workflow

register = template.Library()


@register.inclusion_tag("admin/taskq_admin/workflow_of_task.html", takes_context=True)
def taskq_workflow(context: Context, run: TaskRun) -> dict[str, Any]:
    """Show the workflow of a task, in which the task stands out; nothing if it is part of none, or may not be seen."""
    return views.workflow_of_task.context(context["request"], run, context.get("workflow_root"))


@register.simple_tag(takes_context=True)
def workflow_address(context: Context, root_id: str, group_id: str = "") -> str:
    """Return the address of a workflow, or of the members of one of its groups."""
    page = views.workflow_of_task.page(context["request"])
    query = {"root": root_id} | ({"group": group_id} if group_id else {})
    return f"{page}?{urlencode(query)}" if page else ""


@register.simple_tag(takes_context=True)
def address_of(context: Context, shape: Shape, workflow: Workflow, runs_visible: bool) -> str:
    """Return where a box leads to: to its task, or to the list of those in it."""
    if (step := shape.step) is not None and not shape.group_id:
        if not runs_visible or step.pk is None:
            return ""
        current = getattr(context["request"], "current_app", None)
        return reverse("admin:taskq_taskrun_change", args=[step.pk], current_app=current)
    return f"{workflow_address(context, workflow.root_id, shape.group_id)}#taskq-steps"


@register.filter
def title_of(shape: Shape, workflow: Workflow) -> str:
    """Return what a box says in full, with why its task waits."""
    if (step := shape.step) is None:
        return f"{shape.title} {shape.note}".strip()
    why = queries.workflows.why(workflow, step)
    return f"{short(step.name or step.task_id)}: {short(step.state)}" + (f", {why}" if why else "")


@register.filter
def ending(task_id: str) -> str:
    """Return the end of an id, where ids made at one time differ."""
    return task_id if len(task_id) <= 9 else f"…{task_id[-8:]}"


@register.simple_tag
def bar_of(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the parts of a progress bar, a thousand wide, and what it says in words."""
    total, x, parts = sum(counts.values()) or 1, 0.0, []
    for name in queries.workflows.PARTS:
        if count := counts.get(name, 0):
            width = 1000 * count / total
            parts.append({"name": name, "x": x, "width": width})
            x += width
    return {"parts": parts, "text": charts.workflow.said(counts)}
