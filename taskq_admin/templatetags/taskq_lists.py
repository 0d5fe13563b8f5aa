"""Template tags of the task list: ``{% load taskq_lists %}``."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.translation import gettext_lazy as _

from taskq_admin import queries
from taskq_admin.admin.filters import TabFilter, known_names
from taskq_admin.admin.run_list import RunList

register = template.Library()
#: Choices of the filter by time, beside a time that is typed.
_AGES = (("30min", _("30 minutes")), ("1h", _("an hour")), ("24h", _("24 hours")), ("7d", _("7 days")))


@register.inclusion_tag("admin/taskq_admin/tabs.html")
def taskq_tabs(cl: RunList) -> dict[str, Any]:
    """Show the tabs, with counts as long as nothing else limits the list: counting that for every tab has no index."""
    spec = next(spec for spec in cl.filter_specs if isinstance(spec, TabFilter))
    counts = {} if cl.wanted.is_narrowed else queries.tabs.tab_counts()
    return {"tabs": [{**choice, "count": counts.get(choice["key"])} for choice in spec.choices(cl)]}


@register.inclusion_tag("admin/taskq_admin/search.html")
def taskq_search(cl: RunList) -> dict[str, Any]:
    """Show the search and the filters; they stay within the tab."""
    shown = {"name", "queue", "worker", "since", "until"}
    return {
        "cl": cl,
        "tab": cl.wanted.tab,
        "params": cl.params,
        "kept": [(name, cl.params[name]) for name, *_shortened in cl.filters_shown() if name not in shown],
        "names": known_names(),
        "ages": _AGES,
        "open": any(cl.params.get(name) for name in shown),
        "everything": f"?tab={cl.wanted.tab}" if cl.wanted.tab else "?",
    }
