"""Paginators whose cost has a bound: they count, and go, no further than the cap.

Used by every list. Rows beyond the cap are reached with ``?before=<row>``.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from taskq_admin import queries
from taskq_admin.queries.capped import CappedCount, capped_count

# Only the stubs know Paginator[Any].
if TYPE_CHECKING:
    from taskq_admin.queries.matching import Found

    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator


class CappedPaginator(AnyPaginator):
    """Pages of the first ``CAP`` rows of a queryset."""

    def __init__(self, object_list: QuerySet[Any], per_page: int, *args: Any) -> None:
        super().__init__(object_list, per_page, *args)
        self.queryset = object_list

    @cached_property
    def found(self) -> CappedCount:
        """How many rows there are, up to the cap."""
        return capped_count(self.queryset)

    @cached_property
    def count(self) -> int:
        """How many rows the pages hold."""
        return self.found.value

    def page(self, number: int | str) -> Page[Any]:
        """Return a page by its number. Raises ``InvalidPage`` beyond the cap."""
        valid = self.validate_number(number)
        bottom = (valid - 1) * self.per_page
        return Page(self.rows(bottom, min(bottom + self.per_page, self.count)), valid, self)

    def rows(self, bottom: int, top: int) -> QuerySet[Any]:
        """Return the rows from one place to another."""
        return self.queryset[bottom:top]


class FoundPaginator(CappedPaginator):
    """Pages of what was found for the list of tasks."""

    def __init__(self, found: Found, per_page: int) -> None:
        super().__init__(
            queries.runs.listed().none() if found.rows is None else queries.runs.only_listed(found.rows), per_page
        )
        self._found = found

    @cached_property
    def found(self) -> CappedCount:
        """How many tasks there are, up to the cap or among those that were looked at."""
        return self._found.count

    def rows(self, bottom: int, top: int) -> QuerySet[Any]:
        """Return the tasks from one place to another."""
        if self._found.rows is not None:
            return super().rows(bottom, top)
        return queries.runs.listed().filter(pk__in=self._found.ids[bottom:top]).order_by("-id")
