"""Template tags and filters of the pages: ``{% load taskq_admin %}``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.contrib.admin.templatetags.admin_list import pagination
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from taskq import timezones
from taskq_admin import badges, views
from taskq_admin.admin.filters import BeforeFilter
from taskq_admin.queries import durations

register = template.Library()


@register.filter
def badge(state: str) -> SafeString:
    """Return a state as a coloured label."""
    return badges.badge(state)


@register.filter
def short(text: object) -> str:
    """Return a name or an id, cut if it is too long to be one."""
    return badges.short(text)


@register.filter
def breakable(text: object) -> SafeString:
    """Return a name that breaks between its words in a narrow column."""
    return badges.breakable(text)


@register.filter
def moment(at: datetime | None) -> SafeString:
    """Return a point in time in the current time zone."""
    return badges.moment(at)


@register.filter
def clock(at: datetime | None) -> SafeString:
    """Return the time of day of a line of a log, to the millisecond."""
    return badges.clock(at)


@register.filter
def ago(at: datetime | None) -> SafeString:
    """Return how long ago a point in time was, or in how long it will be; it stays right while the page is open."""
    return badges.ago(at)


@register.filter
def elapsed(at: datetime | None) -> SafeString:
    """Return the time since then, of something that goes on; it stays right while the page is open."""
    return badges.elapsed(at)


@register.filter
def lasting(seconds: float | None) -> SafeString:
    """Return a number of seconds that goes on to grow; it stays right while the page is open."""
    return badges.elapsed(None if seconds is None else timezones.now() - timedelta(seconds=int(seconds)))


@register.filter
def duration(seconds: float | None) -> str:
    """Return a number of seconds in words."""
    return durations.words(seconds)


@register.simple_tag
def taskq_now() -> str:
    """Return the server's time, by which the script of the pages goes."""
    return timezones.now().isoformat()


@register.inclusion_tag("admin/taskq_admin/overview.html", takes_context=True)
def taskq_overview(context: Context) -> dict[str, Any]:
    """Show the overview, as far as the user may see its tables on this site."""
    models = {
        model["object_name"]: model
        for app in context["available_apps"]
        if app["app_label"] == "taskq"
        for model in app["models"]
        if model["perms"]["view"] and model["admin_url"]
    }
    shown = views.overview.overview(models.keys(), context["request"].GET.get("span"))
    pages = {name.lower(): model["admin_url"] for name, model in models.items()}
    return {**shown, "pages": pages, "is_empty": not models}


@register.filter
def labelled(cells: Iterable[SafeString], headers: list[dict[str, Any]]) -> Iterator[SafeString]:
    """Return the cells of a row of Django's list with the names of their columns, which a phone shows beside them."""
    for cell, header in zip(cells, headers, strict=True):
        # The column of boxes has a box for its header.
        name = "" if "<" in str(header["text"]) else capfirst(str(header["text"]))
        yield SafeString(cell.replace("<td ", format_html('<td data-label="{}" ', name), 1))


@register.filter
def at(values: Sequence[Any], place: int) -> Any:
    """Return the value at a place of a list."""
    return values[place]


@register.filter
def page_of(pages: dict[str, str], name: str) -> str:
    """Return the address of a list; empty if the user may not see it."""
    return pages.get(name, "")


@register.inclusion_tag("admin/taskq_admin/pagination.html")
def taskq_pagination(cl: ChangeList) -> dict[str, Any]:
    """Show Django's page numbers with the capped count, and the way to older rows beyond the cap."""
    rows = list(cl.result_list)
    last = cl.page_num >= cl.paginator.num_pages
    # A list that was searched among the newest rows goes on behind all of these, also if none was found.
    place = getattr(getattr(cl, "found", None), "older", None) or (rows[-1].pk if rows else None)
    older = cl.get_query_string({BeforeFilter.parameter_name: place}, [PAGE_VAR]) if place else ""
    newest = cl.get_query_string(remove=[BeforeFilter.parameter_name, PAGE_VAR])
    return {
        **pagination(cl),
        "found": getattr(cl.paginator, "found", cl.result_count),
        "older": older if last and cl.paginator.found.more else "",
        "newest": newest if BeforeFilter.parameter_name in cl.filter_params else "",
    }
