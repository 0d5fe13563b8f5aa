"""The base of all pages: nobody edits a row, and no address makes them scan a table.

Base of the ``ModelAdmin`` classes in this package. Every page is there as JSON too (``?format=json``), and every model
serves its actions at ``do/<key>/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from taskq.conf import settings
from taskq_admin import views
from taskq_admin.answers import FORMAT, as_json, wants_json
from taskq_admin.badges import short

from .paginator import CappedPaginator

M = TypeVar("M", bound=Model)

if TYPE_CHECKING:
    from taskq_admin.actions.base import Action
    from taskq_admin.queries.wanted import Wanted

    BaseAdmin = admin.ModelAdmin
else:
    # Only the stubs know ModelAdmin[M]; at run time the subscript is dropped.
    class BaseAdmin(admin.ModelAdmin):
        """``ModelAdmin`` that may be subscripted."""

        def __class_getitem__(cls, item: Any) -> Any:
            """Return the class itself."""
            return cls


def outside_transactions(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Leave a view out of ``ATOMIC_REQUESTS``, of Django's default database and of taskq's.

    It may send, and wait for answers, which nobody gives before that is committed.
    """
    for alias in (DEFAULT_DB_ALIAS, settings.DATABASE):
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


class ReadOnlyAdmin(BaseAdmin[M]):
    """A page that is only looked at, and made for tables of any size.

    ``page_template`` is the template of one row's page, ``page_context`` its context. ``json_fields`` are the columns
    of a row's JSON, and ``action_field`` is the column whose values are the ids that actions are called with.
    """

    actions = None
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    page_template = ""
    json_fields: Sequence[str] = ("pk",)
    action_field = "pk"

    def get_urls(self) -> list[URLPattern]:
        """Add the address of actions, ``admin:taskq_<model>_do``."""
        view = outside_transactions(self.admin_site.admin_view(self.do_view))
        name = f"{self.opts.app_label}_{self.opts.model_name}_do"
        return [path("do/<slug:key>/", view, name=name), *super().get_urls()]

    @method_decorator(sensitive_post_parameters())
    def do_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Ask for an action, or do it."""
        request.current_app = self.admin_site.name
        return views.action.serve(self, request, key)

    def has_action_permission(self, request: HttpRequest, action: Action) -> bool:
        """Tell whether the user may do this. Override for a rule of your own."""
        return action.is_permitted(request.user)

    def allowed(self, request: HttpRequest, wanted: Wanted) -> tuple[Wanted, list[str]]:
        """Return what the user may look for of what was asked for, and sentences about the rest."""
        return wanted, []

    def action_rows(self, request: HttpRequest, ids: Sequence[str]) -> Mapping[str, Any]:
        """Return the rows with these ids that exist."""
        rows = self.get_queryset(request).filter(**{f"{self.action_field}__in": ids})
        return {str(getattr(row, self.action_field)): row for row in rows}

    def get_queryset(self, request: HttpRequest) -> QuerySet[M]:
        """Return all rows, from the database that ``TASKQ_DATABASE`` names."""
        return super().get_queryset(request).using(settings.DATABASE)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds a row here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody changes a row here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody deletes a row here."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Ask for the ``view`` permission alone: ``change``, which Django takes for it too, means nothing here."""
        user = request.user
        return user.has_perm(f"{self.opts.app_label}.view_{self.opts.model_name}")

    def may_view(self, request: HttpRequest, model: type[Model]) -> bool:
        """Tell whether the user may see the rows of another model, which this site shows."""
        other = self.admin_site._registry.get(model)
        return other is not None and other.has_view_permission(request)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Refuse filters on columns from the address: they would scan the table, or search hidden payloads."""
        if lookup in {getattr(entry, "parameter_name", None) for entry in self.list_filter}:
            return True
        column = lookup.partition(LOOKUP_SEP)[0]
        return column != "pk" and column not in {field.name for field in self.opts.get_fields()}

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> M | None:
        """Return the row with this primary key, or ``None``, also for one that PostgreSQL refuses to look for."""
        return None if "\0" in object_id else super().get_object(request, object_id)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, under the plural name of its model; or answer with its rows as JSON."""
        title = capfirst(str(self.opts.verbose_name_plural))
        if not wants_json(request):
            return super().changelist_view(request, {"title": title, **(extra_context or {})})
        # Django takes what it doesn't know for a filter.
        query = request.GET.copy()
        del query[FORMAT]
        request.GET = query  # type: ignore[assignment]
        page = super().changelist_view(request, {"title": title, **(extra_context or {})})
        # Instead of an invalid page, Django answers with the way to a valid one.
        cl = (getattr(page, "context_data", None) or {}).get("cl")
        return as_json({"error": "invalid parameters"}, status=400) if cl is None else as_json(self.list_data(cl))

    def list_data(self, cl: ChangeList) -> dict[str, Any]:
        """Return a page of the list as plain values."""
        found = getattr(cl.paginator, "found", None)
        return {
            "count": cl.result_count,
            "more": bool(found and found.more),
            "page": cl.page_num,
            "pages": cl.paginator.num_pages,
            "rows": [self.row_data(row) for row in cl.result_list],
        }

    def row_data(self, row: M) -> dict[str, Any]:
        """Return a row of the list as plain values."""
        return {name: getattr(row, name) for name in self.json_fields}

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show Django's history of a row to those who may read its log, as the page *Audit* does."""
        if not request.user.has_perm("admin.view_logentry"):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)

    def page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show one row on its page. Raises 403 without permission, 404 for a row that is not there."""
        self._require_view(request)
        found = self.get_object(request, unquote(object_id))
        if found is None:
            self._missing(object_id)
        context = self.page_context(request, found)
        data = lambda: self.page_data(request, found, context)  # noqa: E731 - only JSON needs it
        return self.render(request, self.page_template, short(found), context, data)

    def page_context(self, request: HttpRequest, obj: M) -> dict[str, Any]:
        """Return the context of ``page_template`` for ``obj``."""
        return {"row": obj}

    def page_data(self, request: HttpRequest, obj: M, context: Mapping[str, Any]) -> Any:
        """Return the page of a row as plain values; ``context`` is what ``page_context`` has returned."""
        return self.row_data(obj)

    def render(
        self,
        request: HttpRequest,
        template: str,
        title: str,
        context: dict[str, Any],
        data: Callable[[], Any] | None = None,
    ) -> HttpResponse:
        """Answer with a page of this admin site, or with its ``data`` as JSON; plain values and times."""
        if wants_json(request) and data is not None:
            return as_json(data())
        request.current_app = self.admin_site.name
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        return TemplateResponse(request, template, {**shared, **context})

    def _require_view(self, request: HttpRequest) -> None:
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied

    def _missing(self, object_id: str) -> NoReturn:
        raise Http404(_("There is no %(noun)s %(id)s (any more).") % {"noun": self.opts.verbose_name, "id": object_id})
