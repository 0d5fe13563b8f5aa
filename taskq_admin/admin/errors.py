"""Errors: failures that are alike, with what can be done about them. The page of an error is the list of its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib.admin.utils import unquote
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.text import capfirst

from taskq.models import Error, TaskRun
from taskq_admin import queries, views
from taskq_admin.answers import format_of

from .read_only import ReadOnlyAdmin

if TYPE_CHECKING:
    from taskq_admin.queries.errors import Listed


class ErrorAdmin(ReadOnlyAdmin[Error]):
    """The errors, the last seen first, or those with the most failures of the last hour or day."""

    page_template = "admin/taskq_admin/error_list.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the errors."""
        self._require_view(request)
        name, order = request.GET.get("name", "").strip(), request.GET.get("order", "")
        pages = self._pages(name, order)
        page = pages.get_page(request.GET.get("p"))
        rows = queries.errors.listed(self._read(list(page.object_list)))
        tasks_visible = self.may_view(request, TaskRun)
        messages_visible = tasks_visible and self._sees_payloads(request)
        runs: Any = self.admin_site._registry.get(TaskRun)
        context = {
            "rows": [
                (
                    row,
                    views.buttons.of_error(request, runs, row.error.key, is_other=row.is_other)
                    if messages_visible
                    else [],
                )
                for row in rows
            ],
            "page": page,
            "spans": queries.errors.SPANS,
            "orders": queries.errors.SPANS[:2],
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
        span = next((span for span in queries.errors.SPANS[:2] if span.key == order), None)
        if span is not None and not name:
            return Paginator(queries.errors.by_number(span), self.list_per_page)
        rows = queries.errors.by_age(name) if "\0" not in name else Error.objects.none()
        return self.paginator(rows, self.list_per_page)

    def _read(self, found: list[Any]) -> list[Error]:
        """Return errors in the order of their keys, if these are what was found."""
        keys = [each for each in found if isinstance(each, str)]
        if not keys:
            return found
        known = queries.errors.by_age().in_bulk(keys)
        return [known[key] for key in keys if key in known]

    def _sees_payloads(self, request: HttpRequest) -> bool:
        runs: Any = self.admin_site._registry.get(TaskRun)
        return bool(runs.has_payload_permission(request))


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
        "other": row.is_other,
        "message": error.message if with_message else None,
        "first_seen": error.first_seen,
        "last_seen": error.last_seen,
        "failures": {span.key: count for span, count in zip(queries.errors.SPANS, row.counts, strict=True)},
        "sample": row.sample if with_message else "",
    }
