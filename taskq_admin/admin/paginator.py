"""A paginator whose cost has a bound: it counts, and goes, no further than the cap.

Used by every list. Rows beyond the cap are reached with ``?before=<row>``.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from taskq_admin.queries.capped import CappedCount, capped_count

# Only the stubs know Paginator[Any].
if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator


class CappedPaginator(AnyPaginator):
    """Pages of the first ``CAP`` rows of a queryset.

    ``states`` are the values of ``state`` that the queryset is limited to, when
    they are several: their rows are then fetched state by state and merged, since
    no database reads several ranges of an index in one order.
    """

    def __init__(self, object_list: QuerySet[Any], per_page: int, *args: Any, states: Sequence[str] = ()) -> None:
        super().__init__(object_list, per_page, *args)
        self.queryset = object_list
        self.states = states

    @cached_property
    def found(self) -> CappedCount:
        """How many rows there are, up to the cap."""
        # Several states are counted in the order of their index, not of the list.
        rows = self.queryset.order_by("state", "-pk") if len(self.states) > 1 else self.queryset
        return capped_count(rows)

    @cached_property
    def count(self) -> int:
        """How many rows the pages hold."""
        return self.found.value

    def page(self, number: int | str) -> Page[Any]:
        """Return a page by its number. Raises ``InvalidPage`` beyond the cap."""
        valid = self.validate_number(number)
        bottom = (valid - 1) * self.per_page
        top = min(bottom + self.per_page, self.count)
        rows = self._merged(bottom, top) if len(self.states) > 1 else self.queryset[bottom:top]
        return Page(rows, valid, self)

    def _merged(self, bottom: int, top: int) -> QuerySet[Any]:
        newest = [self.queryset.filter(state=state).values_list("pk", flat=True)[:top] for state in self.states]
        ids = islice(heapq.merge(*newest, reverse=True), bottom, top)
        return self.queryset.filter(pk__in=list(ids))
