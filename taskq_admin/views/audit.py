"""The page *Audit*: who did what to which row, when, and why. ``admin:taskq_audit``, for ``admin.view_logentry``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import NoReverseMatch, reverse
from django.utils import translation
from django.utils.translation import gettext as _

from taskq_admin.actions.base import ACTIONS
from taskq_admin.queries import audit

from .run_task import RUN

if TYPE_CHECKING:
    from taskq_admin.admin.read_only import ReadOnlyAdmin

TEMPLATE = "admin/taskq_admin/audit.html"


def serve(model_admin: ReadOnlyAdmin[Any], request: HttpRequest) -> HttpResponse:
    """Show the page, or its entries as JSON. Raises 403 without the permission."""
    if not may_see(request):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    asked = {name: request.GET.get(name, "") for name in audit.PARAMETERS}
    found = audit.find(asked, label_of(asked["action"]))
    kept = {name: value for name, value in asked.items() if value and name != "before"}
    context = {
        "found": found,
        "rows": [(entry, audit.said(entry)[0], _page_of(model_admin, request, entry)) for entry in found.entries],
        "asked": asked,
        "is_limited": bool(kept),
        "actions": choices(),
        "kinds": list(_kinds(model_admin)),
        "older": found.older and urlencode({**kept, "before": found.older}),
        "looked_at": audit.NEWEST,
    }
    data = {"rows": [audit.plain(entry) for entry in found.entries], "older": found.older, "problems": found.problems}
    return model_admin.render(request, TEMPLATE, _("Audit"), context, lambda: data)


def choices() -> list[tuple[str, str]]:
    """Return the names of all actions, with their labels and what they are done to."""
    actions = {action.name: action for action in (*ACTIONS.values(), RUN)}
    kinds = {action.of: apps.get_model("taskq", action.of)._meta.verbose_name for action in actions.values()}
    return sorted(
        ((name, f"{action.label} ({kinds[action.of]})") for name, action in actions.items()), key=lambda each: each[1]
    )


def label_of(name: str) -> str:
    """Return the label of an action as entries of older versions have it, in the language of the site."""
    action = next((each for each in (*ACTIONS.values(), RUN) if each.name == name), None)
    with translation.override(settings.LANGUAGE_CODE):
        return "" if action is None else str(action.label)


def may_see(request: HttpRequest) -> bool:
    """Tell whether the user may see who did what."""
    return bool(request.user.has_perm(audit.PERMISSION))


def address(request: HttpRequest, **asked: str) -> str:
    """Return the address of the page for who may see it, else an empty text."""
    try:
        page = reverse("admin:taskq_audit", current_app=getattr(request, "current_app", None))
    except NoReverseMatch:  # this site does not show tasks
        return ""
    if not may_see(request):
        return ""
    return f"{page}?{urlencode(asked)}" if asked else page


def _kinds(model_admin: ReadOnlyAdmin[Any]) -> Iterator[tuple[str, str]]:
    for model in apps.get_app_config("taskq").get_models():
        if model in model_admin.admin_site._registry:
            yield str(model._meta.model_name), str(model._meta.verbose_name)


def _page_of(model_admin: ReadOnlyAdmin[Any], request: HttpRequest, entry: LogEntry) -> str:
    """Return the address of the row, empty if it was deleted, or is not for this user."""
    kind = entry.content_type
    model = kind and kind.model_class()
    pages: Any = model_admin.admin_site._registry.get(model) if model else None
    if kind is None or pages is None or entry.is_deletion() or not entry.object_id:
        return ""
    if not pages.has_view_permission(request):
        return ""
    try:
        page = f"admin:taskq_{kind.model}_change"
        return reverse(page, args=[quote(entry.object_id)], current_app=model_admin.admin_site.name)
    except NoReverseMatch:  # an entry that another program wrote
        return ""
