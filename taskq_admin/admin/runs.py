"""Tasks: the list with a tab for each kind of state, and the page of one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, re_path, reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.debug import sensitive_post_parameters

from taskq.models import TaskRun
from taskq_admin import queries, views
from taskq_admin.answers import format_of

from .run_list import PAYLOAD_PERMISSION, RunListAdmin

__all__ = ["PAYLOAD_PERMISSION", "TaskRunAdmin"]


class TaskRunAdmin(RunListAdmin):
    """The tasks, and each on its page."""

    page_template = "admin/taskq_admin/run.html"
    action_field = "task_id"
    json_fields = (
        "task_id",
        "name",
        "state",
        "queue",
        "priority",
        "worker",
        "retries",
        "root_id",
        "parent_id",
        "group_id",
        "created_at",
        "eta",
        "started_at",
        "finished_at",
        "runtime",
    )

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> TaskRun | None:
        """Return the task in this row, its payloads cut to what a page shows."""
        return queries.runs.find(object_id)

    def get_urls(self) -> list[URLPattern]:
        """Add the form that runs a task, the audit, and an address for who knows a task's id only."""
        view = self.admin_site.admin_view
        own = [
            path("run/", view(self.run_view), name="taskq_taskrun_run"),
            path("audit/", view(self.audit_view), name="taskq_audit"),
            # Not <path:task_id>, whose dot stands for no line break: others give ids too.
            re_path(r"^id/(?P<task_id>[\s\S]+)/$", view(self.by_task_id), name="taskq_taskrun_by_task_id"),
        ]
        return [*own, *super().get_urls()]

    @method_decorator(sensitive_post_parameters())
    def run_view(self, request: HttpRequest) -> HttpResponse:
        """Run a task from a form."""
        request.current_app = self.admin_site.name
        return views.run_task.serve(self, request)

    def audit_view(self, request: HttpRequest) -> HttpResponse:
        """Show who did what, to rows of all kinds."""
        request.current_app = self.admin_site.name
        return views.audit.serve(self, request)

    def by_task_id(self, request: HttpRequest, task_id: str) -> HttpResponse:
        """Go to the page of the task with this id. Raises 404 when it has no row."""
        self._require_view(request)
        pk = queries.runs.pk_of(task_id)
        if pk is None:
            self._missing(task_id)
        page = reverse("admin:taskq_taskrun_change", args=[pk], current_app=self.admin_site.name)
        kept = urlencode(format_of(request))
        return HttpResponseRedirect(f"{page}?{kept}" if kept else page)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, with the way to the form that runs a task for who may."""
        may_run = self.has_action_permission(request, views.run_task.RUN)
        return super().changelist_view(request, {"may_run": may_run, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one task."""
        return self.page(request, object_id)

    def page_context(self, request: HttpRequest, obj: TaskRun) -> dict[str, Any]:
        """Return the context of the page of one task."""
        return views.run_page.context(self, request, obj)

    def page_data(self, request: HttpRequest, obj: TaskRun, context: Mapping[str, Any]) -> Any:
        """Return the page of one task as plain values."""
        return views.run_page.data(self.row_data(obj), context)
