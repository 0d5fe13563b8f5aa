"""The filters of the task list. Their choices are fixed or come from the registry, never from the table.

They name the parameters that the list takes; ``queries.wanted`` reads them, and ``queries.matching`` finds the rows.
The templates show them where they belong (tabs, search, page numbers), not in Django's side bar.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from taskq.models import TaskRun
from taskq_admin import queries
from taskq_admin.queries.wanted import TEXTS, TIMES


class TabFilter(SimpleListFilter):
    """``?tab=failed``: the rows of one tab. Shown as tabs above the list."""

    title = _("state")
    parameter_name = "tab"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Return the tabs."""
        return [(tab.key, str(tab.label)) for tab in queries.tabs.TABS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
        """Leave the rows to ``queries.matching``."""
        return queryset

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Yield each tab with its address; a change of tab begins at the newest row."""
        active = queries.tabs.tab_for(self.value())
        for tab in queries.tabs.TABS:
            query = changelist.get_query_string({self.parameter_name: tab.key or None}, [BeforeFilter.parameter_name])
            yield {"selected": tab is active, "query_string": query, "display": tab.label, "key": tab.key}


class ValueFilter(SimpleListFilter):
    """Base of filters that take any value and have no choices to click."""

    def has_output(self) -> bool:
        """Take part whenever it is in the address."""
        return self.value() is not None

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Offer no choices."""
        return []

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Yield nothing."""
        return iter(())

    def queryset(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
        """Leave the rows to ``queries.matching``."""
        return queryset


class BeforeFilter(ValueFilter):
    """``?before=4711``: rows older than that row, how one goes on beyond the last counted page."""

    title = _("older than")
    parameter_name = "before"


def _filter(parameter: str) -> type[ValueFilter]:
    return type(f"{parameter.title()}Filter", (ValueFilter,), {"title": parameter, "parameter_name": parameter})


FILTERS: tuple[type[SimpleListFilter], ...] = (TabFilter, BeforeFilter, *map(_filter, (*TEXTS, *TIMES)))


def known_names() -> list[str]:
    """Return the names of the tasks that this process knows."""
    from taskq.calls.registry import tasks

    return sorted(tasks)
