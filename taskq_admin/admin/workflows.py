"""Workflows: the list, and the page of one with its picture, its tasks, and why each of them waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from taskq.models import Node, TaskRun
from taskq_admin import charts, queries
from taskq_admin.answers import format_of
from taskq_admin.badges import short

from .read_only import ReadOnlyAdmin

if TYPE_CHECKING:
    from taskq_admin.queries.workflow_list import Page
    from taskq_admin.queries.workflows import Step, Workflow

#: Tasks of a page.
PAGE = 100


class WorkflowAdmin(ReadOnlyAdmin[Node]):
    """The workflows, newest first. Registered for ``Node``, of which each task of a workflow has a row."""

    page_template = "admin/taskq_admin/workflow.html"
    action_field = "root_id"

    def get_urls(self) -> list[URLPattern]:
        """Add ``admin:taskq_node_workflow``, the page of the workflow with the root ``?root=``."""
        view = self.admin_site.admin_view(self.workflow_view)
        return [path("workflow/", view, name="taskq_node_workflow"), *super().get_urls()]

    def action_rows(self, request: HttpRequest, ids: Sequence[str]) -> Mapping[str, Node]:
        """Return the first node of each of these workflows."""
        return queries.workflows.first_nodes(self.get_queryset(request), ids)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        """Return the nodes."""
        return super().get_queryset(request).order_by("-id")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the newest workflows, or those before ``?before=``."""
        self._require_view(request)
        before = request.GET.get("before", "")
        page = queries.workflow_list.page(int(before) if before.isdecimal() and len(before) < 19 else None)
        context = {"page": page, "is_first": not before, "parts": queries.workflows.PARTS}
        title = capfirst(str(self.opts.verbose_name_plural))
        template = "admin/taskq_admin/workflow_list.html"
        return self.render(request, template, title, context, lambda: _list_data(page))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Go to the page of the workflow that this node belongs to."""
        self._require_view(request)
        root_id = queries.workflows.root_at(object_id)
        if not root_id:
            self._missing(object_id)
        page = reverse("admin:taskq_node_workflow", current_app=self.admin_site.name)
        return HttpResponseRedirect(f"{page}?{urlencode({'root': root_id, **format_of(request)})}")

    def workflow_view(self, request: HttpRequest) -> HttpResponse:
        """Show one workflow. Raises 404 for a root that no node has."""
        self._require_view(request)
        root_id = request.GET.get("root", "")
        found = queries.workflows.find(root_id)
        if found is None:
            self._missing(short(root_id))
        context = self._context(request, found)
        title = short(found.name or root_id)
        return self.render(request, self.page_template, title, context, lambda: _page_data(found, context))

    def _context(self, request: HttpRequest, found: Workflow) -> dict[str, Any]:
        group_id, part = request.GET.get("group", ""), request.GET.get("part", "")
        chosen = found.members.get(group_id, []) if group_id else found.steps
        steps = [step for step in chosen if not part or step.part == part]
        number = request.GET.get("page", "")
        page = (int(number) if number.isdecimal() and len(number) < 7 else 1) or 1
        shown = steps[(page - 1) * PAGE : page * PAGE]
        times = queries.workflows.times(shown)
        return {
            "workflow": found,
            "root": found.by_id.get(found.root_id),
            "created_at": queries.workflows.created(found),
            "picture": charts.workflow.picture(found, request.GET.get("lit", "")),
            "rows": [
                (step, queries.workflows.why(found, step), *times.get(step.task_id, (None, None))) for step in shown
            ],
            "count": len(steps),
            "group_id": group_id,
            "tabs": list(_tabs(request, found, part)),
            "pages": list(_pages(request, len(steps), page)),
            "at_most": queries.workflows.MOST,
            "runs_visible": self.may_view(request, TaskRun),
        }


def _address(request: HttpRequest, **changes: object) -> str:
    query = request.GET.copy()
    query.pop("page", None)
    for name, value in changes.items():
        query.pop(name, None)
        if value:
            query[name] = str(value)
    return f"?{query.urlencode()}"


def _tabs(request: HttpRequest, found: Workflow, selected: str) -> Iterator[dict[str, Any]]:
    """Yield the tabs above the tasks of a workflow; the first shows all."""
    kinds = queries.workflows
    words = {
        "": _("All"),
        kinds.FAILED: _("Failed"),
        kinds.RUNNING: _("Running"),
        kinds.WAITING: _("Waiting"),
        kinds.DONE: _("Done"),
    }
    for part, display in words.items():
        count = found.counts[part] if part else len(found.steps)
        if count or not part:
            address = _address(request, part=part, group="")
            yield {"address": address, "display": display, "count": count, "selected": part == selected}


def _pages(request: HttpRequest, count: int, page: int) -> Iterator[dict[str, Any]]:
    """Yield the neighbours of a page, the first and the last one."""
    last = max(1, -(-count // PAGE))
    before = 0
    for number in sorted({1, page - 1, page, page + 1, last}):
        if 1 <= number <= last and last > 1:
            address = _address(request, page=number)
            yield {"number": number, "address": address, "selected": number == page, "gap": number > before + 1}
            before = number


def _list_data(page: Page) -> dict[str, Any]:
    rows = [
        {
            "root_id": row.root_id,
            "name": row.name,
            "state": row.state,
            "created_at": row.created_at,
            "tasks": row.total,
            "more": row.more,
            **{part: row.counts[part] for part in queries.workflows.PARTS},
        }
        for row in page.rows
    ]
    return {"rows": rows, "older": page.older}


def _page_data(found: Workflow, context: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "root_id": found.root_id,
        "name": found.name,
        "created_at": context["created_at"],
        "tasks": len(found.steps),
        "more": found.more,
        **{part: found.counts[part] for part in queries.workflows.PARTS},
        "count": context["count"],
        "rows": [_step_data(*row) for row in context["rows"]],
    }


def _step_data(step: Step, why: str, started: datetime | None, runtime: float | None) -> dict[str, Any]:
    columns = ("task_id", "name", "state", "group_id", "waits_for", "queue")
    times = {"started_at": started, "runtime": runtime}
    return {column: getattr(step, column) for column in columns} | times | {"why": str(why)}
