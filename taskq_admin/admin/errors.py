"""Errors: failures that are alike, with what can be done about them. The page of an error is the list of its tasks."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import unquote
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse
from django.utils.text import capfirst

from taskq.models import Error, TaskRun
from taskq_admin.actions.base import ACTIONS
from taskq_admin.answers import format_of
from taskq_admin.queries import errors
from taskq_admin.queries.errors import SPANS, Listed

from .read_only import ReadOnlyAdmin

#: What can be done to all tasks of an error, by the keys of actions, and to which of them: those that have failed for
#: good, or those that wait or run to be tried again.
_ACTIONS = {"retry": "failed", "revoke": "unfinished", "delete": "failed"}


class ErrorAdmin(ReadOnlyAdmin[Error]):
    """The errors, the last seen first, or those with the most failures of the last hour or day."""

    page_template = "admin/taskq_admin/error_list.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the errors."""
        self._require_view(request)
        name, order = request.GET.get("name", "").strip(), request.GET.get("order", "")
        pages = self._pages(name, order)
        page = pages.get_page(request.GET.get("p"))
        rows = errors.listed(self._read(list(page.object_list)))
        tasks_visible = self.may_view(request, TaskRun)
        messages_visible = tasks_visible and self._sees_payloads(request)
        context = {
            "rows": [(row, self._buttons(request, row) if messages_visible else []) for row in rows],
            "page": page,
            "spans": SPANS,
            "orders": SPANS[:2],
            "order": order,
            "name": name,
            "tasks_visible": tasks_visible,
            "messages_visible": messages_visible,
        }
        title = capfirst(str(self.opts.verbose_name_plural))
        return self.render(request, self.page_template, title, context, lambda: _data(page, rows, messages_visible))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Go to the list of the tasks that failed with this error."""
        self._require_view(request)
        if TaskRun not in self.admin_site._registry:
            self._missing(object_id)
        address = reverse("admin:taskq_taskrun_changelist", current_app=self.admin_site.name)
        return HttpResponseRedirect(f"{address}?{_filter(unquote(object_id), **format_of(request))}")

    def _pages(self, name: str, order: str) -> Paginator[Any]:
        span = next((span for span in SPANS[:2] if span.key == order), None)
        if span is not None and not name:
            return Paginator(errors.by_number(span), self.list_per_page)
        rows = errors.by_age(name) if "\0" not in name else Error.objects.none()
        return self.paginator(rows, self.list_per_page)

    def _read(self, found: list[Any]) -> list[Error]:
        """Return errors in the order of their keys, if these are what was found."""
        keys = [each for each in found if isinstance(each, str)]
        if not keys:
            return found
        known = errors.by_age().in_bulk(keys)
        return [known[key] for key in keys if key in known]

    def _sees_payloads(self, request: HttpRequest) -> bool:
        runs: Any = self.admin_site._registry.get(TaskRun)
        return bool(runs.has_payload_permission(request))

    def _buttons(self, request: HttpRequest, row: Listed) -> list[dict[str, Any]]:
        """Return what the user may do to all tasks of an error; each asks before."""
        query = {"scope": "all", "next": request.get_full_path()}
        runs: Any = self.admin_site._registry[TaskRun]
        found = []
        for key, tab in _ACTIONS.items():
            action = ACTIONS.get(("taskrun", key))
            if action is None or not runs.has_action_permission(request, action):
                continue
            try:
                address = reverse("admin:taskq_taskrun_do", args=[key], current_app=self.admin_site.name)
            except NoReverseMatch:  # This site does not show tasks.
                continue
            asked = urlencode({**query, "filter": _filter(row.error.key, tab=tab)})
            found.append({"action": action, "address": f"{address}?{asked}"})
        return found


def _filter(key: str, **more: str) -> str:
    return urlencode({"tab": "failed", "error": key, **more})


def _data(page: Page[Any], rows: list[Listed], with_messages: bool) -> dict[str, Any]:
    shown = [_plain(row, with_messages) for row in rows]
    return {"page": page.number, "pages": page.paginator.num_pages, "rows": shown}


def _plain(row: Listed, with_message: bool) -> dict[str, Any]:
    error = row.error
    return {
        "key": error.key,
        "task": error.name,
        "exception": error.exception,
        "message": error.message if with_message else None,
        "first_seen": error.first_seen,
        "last_seen": error.last_seen,
        "failures": {span.key: count for span, count in zip(SPANS, row.counts, strict=True)},
        "sample": row.sample if with_message else "",
    }
