"""Workers: the list with their state, start and queues, and the page of one worker with its messages."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from taskq import timezones
from taskq.models import TaskRun, Worker
from taskq_admin.badges import badge, moment, short
from taskq_admin.queries import durations, workers

from .read_only import ReadOnlyAdmin


class WorkerAdmin(ReadOnlyAdmin[Worker]):
    """The workers by name."""

    list_display = ("node", "status", "where", "queues", "size", "ended", "load", "started", "seen")
    list_display_links = ("node",)
    ordering = ("name", "token")
    sortable_by = ()
    change_list_template = "admin/taskq_admin/worker_list.html"
    page_template = "admin/taskq_admin/worker.html"
    json_fields = ("token", "name", "state", "host", "pid", "started_at", "seen_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        """Return all workers."""
        return workers.listed()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one worker."""
        return self.page(request, object_id)

    def page_context(self, request: HttpRequest, obj: Worker) -> dict[str, Any]:
        """Return the worker with its ``info`` and its messages."""
        now = timezones.now()
        info = workers.info(obj)
        held, activity = workers.held(obj.token, info.activity)
        return {
            "worker": obj,
            "info": info,
            "activity": activity,
            "slots": [(slot, durations.between(slot.since, now)) for slot in activity.slots],
            "silent": obj.state != Worker.LOST and workers.is_silent(obj, now),
            "silence": workers.silence(obj, now),
            "held": held,
            "tasks_visible": self.may_view(request, TaskRun),
            "held_at_most": workers.MANY,
            "now": now,
        }

    @admin.display(description=_("worker"))
    def node(self, worker: Worker) -> str:
        """Its name."""
        return short(worker.name or worker.token)

    @admin.display(description=_("state"))
    def status(self, worker: Worker) -> SafeString:
        """Its state, or that nothing was heard of it for longer than its lease."""
        silent = worker.state != Worker.LOST and workers.is_silent(worker, timezones.now())
        return badge("silent" if silent else worker.state)

    @admin.display(description=_("host and process"))
    def where(self, worker: Worker) -> str:
        """Host and process id."""
        return f"{short(workers.info(worker).host or worker.host)} : {worker.pid}"

    @admin.display(description=_("queues"))
    def queues(self, worker: Worker) -> str:
        """The queues it takes from."""
        return short(", ".join(workers.info(worker).queues))

    @admin.display(description=_("concurrency"))
    def size(self, worker: Worker) -> str:
        """The number of tasks that it runs at once, and its pool."""
        info = workers.info(worker)
        return short(f"{info.concurrency} ({info.pool})" if info.pool else info.concurrency)

    @admin.display(description=_("ended tasks"))
    def ended(self, worker: Worker) -> str:
        """How many tasks have ended since its start."""
        total = workers.info(worker).activity.total
        return "" if total is None else f"{total}"

    @admin.display(description=_("load"))
    def load(self, worker: Worker) -> str:
        """The load average of its machine over the last minute."""
        return "".join(f"{load:.2f}" for load in workers.info(worker).activity.load[:1])

    @admin.display(description=_("started"))
    def started(self, worker: Worker) -> SafeString:
        """When it started."""
        return moment(worker.started_at)

    @admin.display(description=_("last heartbeat"))
    def seen(self, worker: Worker) -> str:
        """How long ago it was heard of."""
        silence = workers.silence(worker, timezones.now())
        return "" if silence is None else gettext("%s ago") % durations.words(silence)
