"""Workers: the list with their state, start and queues, the page of one, and the stack of a task that it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from taskq import timezones
from taskq.models import Queue, TaskRun, Worker
from taskq_admin import queries, views
from taskq_admin.answers import format_of
from taskq_admin.badges import ago, badge, short
from taskq_admin.queries import durations

from .read_only import ReadOnlyAdmin, outside_transactions

#: Who may look into a running task, as for whatever else has a worker do something.
STACK_PERMISSION = "taskq.control_worker"


class WorkerAdmin(ReadOnlyAdmin[Worker]):
    """The workers by name."""

    list_display = ("node", "status", "where", "queues", "size", "running", "ended", "uptime", "seen")
    list_display_links = ("node",)
    ordering = ("name", "token")
    sortable_by = ()
    change_list_template = "admin/taskq_admin/worker_list.html"
    page_template = "admin/taskq_admin/worker.html"
    stack_template = "admin/taskq_admin/stack.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the stack of a task, and the overview as JSON: its page is Django's own."""
        view = self.admin_site.admin_view
        return [
            path("stack/", outside_transactions(view(self.stack_view)), name="taskq_worker_stack"),
            path("by-name/", view(self.by_name), name="taskq_worker_by_name"),
            path("overview/", view(self.overview_view), name="taskq_overview"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        """Return all workers. Connections of kombu, which have a lease too, are in no list."""
        is_list = request.resolver_match is not None and request.resolver_match.url_name == "taskq_worker_changelist"
        return queries.workers.listed().exclude(state=Worker.CONSUMER) if is_list else queries.workers.listed()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, with what can be done to all that live."""
        return super().changelist_view(request, {"living": queries.workers.living(), **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one worker."""
        return self.page(request, object_id)

    def page_context(self, request: HttpRequest, obj: Worker) -> dict[str, Any]:
        """Return the worker with its ``info`` and its messages."""
        now = timezones.now()
        info = queries.workers.info(obj)
        held, activity = queries.workers.held(obj.token, info.activity)
        return {
            "worker": obj,
            "info": info,
            "activity": activity,
            "silent": obj.state != Worker.LOST and queries.workers.is_silent(obj, now),
            "uptime": queries.workers.uptime(obj, now),
            "held": held,
            "tasks_visible": self.may_view(request, TaskRun),
            "queues_visible": self.may_view(request, Queue),
            "stack_allowed": obj.state != Worker.LOST and self.may_see_stacks(request),
            "held_at_most": queries.workers.MANY,
            "now": now,
        }

    def by_name(self, request: HttpRequest) -> HttpResponse:
        """Go to the page of the worker ``?name=`` that was started last, or to the list if its row is gone."""
        self._require_view(request)
        pk = queries.workers.pk_of(request.GET.get("name", ""))
        where = ("changelist", []) if pk is None else ("change", [pk])
        page = reverse(f"admin:taskq_worker_{where[0]}", args=where[1], current_app=self.admin_site.name)
        return HttpResponseRedirect(f"{page}?{urlencode(format_of(request))}".removesuffix("?"))

    # -- as JSON

    def list_data(self, cl: ChangeList) -> dict[str, Any]:
        """Return the list as plain values."""
        return {**super().list_data(cl), "rows": [self.row_data(row) for row in cl.result_list]}

    def row_data(self, row: Worker) -> dict[str, Any]:
        """Return a worker as plain values, without the tasks that it runs."""
        return queries.workers.data(row, queries.workers.info(row), _state(row), names=False)

    def page_data(self, request: HttpRequest, obj: Worker, context: Mapping[str, Any]) -> Any:
        """Return the page of a worker as plain values."""
        names = context["tasks_visible"]
        held = [{"task_id": each.task_id, "task": each.name, "queue": each.queue} for each in context["held"]]
        return {
            **queries.workers.data(obj, context["info"], _state(obj), names=names),
            "held": held if names else len(held),
        }

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        """Answer with the overview as JSON; without ``?format=json`` go to its page."""
        models = {model.__name__ for model in (TaskRun, Queue, Worker) if self.may_view(request, model)}
        if not models:
            raise PermissionDenied
        page = reverse("admin:app_list", args=["taskq"], current_app=self.admin_site.name)
        if request.GET.get("format") != "json":
            return HttpResponseRedirect(page)
        shown = views.overview.overview(models, request.GET.get("span"))
        return self.render(request, "", "", {}, lambda: views.overview.data(shown, names="TaskRun" in models))

    # -- the stack of a task

    def may_see_stacks(self, request: HttpRequest) -> bool:
        """Tell whether the user may look where running tasks are. Override for a rule of your own."""
        return request.user.has_perm(STACK_PERMISSION) and self.may_view(request, TaskRun)

    def stack_view(self, request: HttpRequest) -> HttpResponse:
        """Show where the task of ``?id=`` is, as the process that runs it says, outside of transactions."""
        self._require_view(request)
        if not self.may_see_stacks(request):
            raise PermissionDenied
        stack = views.stacks.of(request.GET.get("id", ""))
        title = gettext("Stack of a running task")
        return self.render(request, self.stack_template, title, {"stack": stack}, stack.data)

    # -- columns

    @admin.display(description=_("worker"))
    def node(self, worker: Worker) -> str:
        """Its name."""
        return short(worker.name or worker.token)

    @admin.display(description=_("state"))
    def status(self, worker: Worker) -> SafeString:
        """Its state, or that nothing was heard of it for longer than its lease."""
        return badge(_state(worker))

    @admin.display(description=_("host and process"))
    def where(self, worker: Worker) -> str:
        """Host and process id."""
        return f"{short(queries.workers.info(worker).host or worker.host)} : {worker.pid}"

    @admin.display(description=_("queues"))
    def queues(self, worker: Worker) -> str:
        """The queues it takes from."""
        return short(", ".join(queries.workers.info(worker).queues))

    @admin.display(description=_("concurrency"))
    def size(self, worker: Worker) -> str:
        """The number of tasks that it runs at once, and its pool."""
        info = queries.workers.info(worker)
        return short(f"{info.concurrency} ({info.pool})" if info.pool else info.concurrency)

    @admin.display(description=_("ended tasks"))
    def ended(self, worker: Worker) -> str:
        """How many tasks have ended since its start."""
        total = queries.workers.info(worker).activity.total
        return "" if total is None else f"{total}"

    @admin.display(description=_("running tasks"))
    def running(self, worker: Worker) -> str:
        """How many tasks it runs, as of its last heartbeat."""
        activity = queries.workers.info(worker).activity
        return f"{sum(bool(slot.task_id) for slot in activity.slots) + activity.folded_running}"

    @admin.display(description=_("uptime"))
    def uptime(self, worker: Worker) -> str:
        """For how long it has run, until it was last heard of if it is away."""
        return durations.words(queries.workers.uptime(worker, timezones.now()))

    @admin.display(description=_("last heartbeat"))
    def seen(self, worker: Worker) -> SafeString:
        """How long ago it was heard of."""
        return ago(worker.seen_at)


def _state(worker: Worker) -> str:
    silent = worker.state != Worker.LOST and queries.workers.is_silent(worker, timezones.now())
    return "silent" if silent else worker.state
