"""Queues: one page with the load of each. A queue has no page of its own yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.text import capfirst

from taskq.conf import database_broker_alias, settings
from taskq.models import Queue, Worker
from taskq_admin.queries import queues

from .read_only import ReadOnlyAdmin


class QueueAdmin(ReadOnlyAdmin[Queue]):
    """The queues that hold messages, whether a program declared them or not.

    Registered for ``Queue`` for its permission and its place in the index; the
    rows of that table, which kombu programs declare, are not shown.
    """

    page_template = "admin/taskq_admin/queue_list.html"
    action_field = "name"

    def action_rows(self, request: HttpRequest, ids: Sequence[str]) -> Mapping[str, Queue]:
        """Return a row for each name: a queue needs none to hold messages."""
        return {name: Queue(name=name) for name in ids}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the load of every queue."""
        self._require_view(request)
        context = {
            "overview": queues.overview((settings.DEFAULT_QUEUE,)),
            "queues_at_most": queues.MANY,
            "readers_visible": self.may_view(request, Worker),
            "other_broker": database_broker_alias() is None,
        }
        return self.render(request, self.page_template, capfirst(str(self.opts.verbose_name_plural)), context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Go to the list."""
        self._require_view(request)
        return HttpResponseRedirect(reverse("admin:taskq_queue_changelist", current_app=self.admin_site.name))
