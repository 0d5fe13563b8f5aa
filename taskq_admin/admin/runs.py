"""Tasks: the list with a tab for each kind of state, and the page of one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from taskq.models import Queue, TaskRun, Worker
from taskq_admin.badges import badge, moment, short
from taskq_admin.queries import durations, queues, runs
from taskq_admin.queries.tabs import tab_for

from . import run_page
from .filters import BeforeFilter, NameFilter, TabFilter
from .paginator import CappedPaginator
from .read_only import ReadOnlyAdmin

#: Users without this permission see no arguments, results and tracebacks.
PAYLOAD_PERMISSION = "view_taskrun_payload"


class TaskRunAdmin(ReadOnlyAdmin[TaskRun]):
    """The tasks, newest first."""

    # Methods only: Django sorts by ?o= whatever column is a model's field.
    list_display = ("task", "status", "short_id", "where", "created", "waited", "ran", "retried")
    list_display_links = ("task",)
    list_filter = (TabFilter, NameFilter, BeforeFilter)
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("task_id",)
    search_help_text = _("The whole id of a task.")
    change_list_template = "admin/taskq_admin/run_list.html"
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

    def get_queryset(self, request: HttpRequest) -> QuerySet[TaskRun]:
        """Return all tasks without their large columns."""
        return runs.listed()

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> TaskRun | None:
        """Return the task in this row, its payloads cut to what a page shows."""
        return runs.find(object_id)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TaskRun], search_term: str
    ) -> tuple[QuerySet[TaskRun], bool]:
        """Find the task with exactly this id: one index probe."""
        term = search_term.strip()
        return (queryset.filter(task_id=term) if term else queryset), False

    def get_paginator(
        self,
        request: HttpRequest,
        queryset: QuerySet[TaskRun],
        per_page: int,
        orphans: int = 0,
        allow_empty_first_page: bool = True,
    ) -> CappedPaginator:
        """Return the paginator, told which states the tab merges."""
        states = tab_for(request.GET.get(TabFilter.parameter_name)).states
        return CappedPaginator(queryset, per_page, orphans, allow_empty_first_page, states=states)

    def get_urls(self) -> list[URLPattern]:
        """Add ``admin:taskq_taskrun_by_task_id``, an address for who knows a task's id only."""
        view = self.admin_site.admin_view(self.by_task_id)
        return [path("id/<path:task_id>/", view, name="taskq_taskrun_by_task_id"), *super().get_urls()]

    def by_task_id(self, request: HttpRequest, task_id: str) -> HttpResponse:
        """Go to the page of the task with this id. Raises 404 when it has no row."""
        self._require_view(request)
        pk = runs.pk_of(task_id)
        if pk is None:
            self._missing(task_id)
        page = reverse("admin:taskq_taskrun_change", args=[pk], current_app=self.admin_site.name)
        return HttpResponseRedirect(page)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, and above it the queues that nobody reads, to who may see queues and workers."""
        told = self.may_view(request, Queue) and self.may_view(request, Worker)
        unread = queues.unread() if told and self.has_view_permission(request) else []
        return super().changelist_view(request, {"unread": unread, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one task."""
        return self.page(request, object_id)

    def has_payload_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may see arguments, results and tracebacks. Override for a rule of your own."""
        declared = dict(TaskRun._meta.permissions)
        return PAYLOAD_PERMISSION not in declared or request.user.has_perm(f"taskq.{PAYLOAD_PERMISSION}")

    def page_context(self, request: HttpRequest, obj: TaskRun) -> dict[str, Any]:
        """Return the context of the page of one task."""
        return run_page.context(self, request, obj)

    def page_data(self, request: HttpRequest, obj: TaskRun, context: Mapping[str, Any]) -> Any:
        """Return the page of one task as plain values."""
        return run_page.data(self.row_data(obj), context)

    @admin.display(description=_("task"))
    def task(self, run: TaskRun) -> SafeString:
        """The task's name, which a narrow column breaks at its dots."""
        return format_html_join(SafeString(".<wbr>"), "{}", ((part,) for part in short(run.name or "-").split(".")))

    @admin.display(description=_("state"))
    def status(self, run: TaskRun) -> SafeString:
        """The state, coloured; a task that is told to run is no waiting one."""
        return badge(runs.shown_state(run))

    @admin.display(description=_("id"))
    def short_id(self, run: TaskRun) -> SafeString:
        """The end of the id, where ids made at one time differ; the whole of it on hovering."""
        end = run.task_id if len(run.task_id) <= 9 else f"…{run.task_id[-8:]}"
        return format_html('<code class="taskq-id" title="{}">{}</code>', short(run.task_id), end)

    @admin.display(description=_("queue"))
    def where(self, run: TaskRun) -> str:
        """The queue, and the worker once there is one."""
        return f"{short(run.queue)} @ {short(run.worker)}" if run.worker else short(run.queue)

    @admin.display(description=_("created"))
    def created(self, run: TaskRun) -> SafeString:
        """When it was sent."""
        return moment(run.created_at)

    @admin.display(description=_("waited"))
    def waited(self, run: TaskRun) -> str:
        """How long it was due before it started."""
        return durations.words(run_page.waited(run))

    @admin.display(description=_("ran"))
    def ran(self, run: TaskRun) -> str:
        """How long it ran."""
        return durations.words(run.runtime)

    @admin.display(description=_("retries"))
    def retried(self, run: TaskRun) -> str:
        """How often it was retried."""
        return str(run.retries) if run.retries else ""
