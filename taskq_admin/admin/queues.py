"""Queues: the list with the load of each, and the page of one with its pause, its workers and its actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.admin.utils import unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.text import capfirst

from taskq import control
from taskq.conf import database_broker_alias, settings
from taskq.models import Queue, TaskRun, Worker
from taskq_admin import queries
from taskq_admin.badges import short

from .read_only import ReadOnlyAdmin

#: Characters that the name of a queue has at most.
_LONGEST = 255


class QueueAdmin(ReadOnlyAdmin[Queue]):
    """The queues that hold messages, whether a program declared them or not.

    Registered for ``Queue`` for its permission and its place in the index. The rows of that table are what kombu
    programs declare; a queue is shown by its name alone, and needs no row.
    """

    list_template = "admin/taskq_admin/queue_list.html"
    page_template = "admin/taskq_admin/queue.html"
    action_field = "name"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the load of every queue."""
        self._require_view(request)
        readers = self.may_view(request, Worker)
        overview = queries.queues.overview((settings.DEFAULT_QUEUE,))
        context = {
            "overview": overview,
            "queues_at_most": queries.queues.MANY,
            "readers_visible": readers,
            "runs_visible": self.may_view(request, TaskRun),
            "other_broker": database_broker_alias() is None,
        }
        return self.render(
            request,
            self.list_template,
            capfirst(str(self.opts.verbose_name_plural)),
            context,
            lambda: {
                "more": overview.more,
                "queues": [queries.queues.data(load, readers=readers) for load in overview.queues],
            },
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one queue. Raises 404 for what can't be the name of one."""
        self._require_view(request)
        name = unquote(object_id)
        if not _can_be(name):
            raise Http404
        known = queries.queues.around()
        load, queue = queries.queues.of(name, known), _row(name, known.pauses)
        readers = self.may_view(request, Worker)
        took = queries.times.of_queue(name)
        context = {
            "queue": load,
            "times": took,
            "row": queue,
            "readers": queries.workers.readers(name, known.workers) if readers else None,
            "runs_visible": self.may_view(request, TaskRun),
            "other_broker": database_broker_alias() is None,
        }
        return self.render(
            request,
            self.page_template,
            short(name),
            context,
            lambda: {**queries.queues.data(load, readers=readers), "times": queries.times.by_span(took)},
        )

    def action_rows(self, request: HttpRequest, ids: Sequence[str]) -> Mapping[str, Any]:
        """Return an object for each name: a queue needs no row."""
        pauses = {row.queue: row for row in control.paused_queues()}
        return {name: _row(name, pauses) for name in ids if _can_be(name)}


def _can_be(name: str) -> bool:
    return 0 < len(name) <= _LONGEST and "\0" not in name


def _row(name: str, pauses: Mapping[str, Any]) -> Queue:
    queue = Queue(name=name)
    queue.pause = pauses.get(name)  # type: ignore[attr-defined]
    return queue
