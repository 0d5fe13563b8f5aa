"""Counting that costs the same on any table: it stops after ``CAP`` rows.

Used by the paginator, the tabs and the queue page. A count beyond the cap reads
``10,000+``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

#: Rows that are counted at most; one more is looked for, to know that there are more.
CAP = 10_000


@dataclass(frozen=True, slots=True)
class CappedCount:
    """A number of rows; ``more`` says that there are more than ``value``."""

    value: int
    more: bool = False

    def __str__(self) -> str:
        return f"{self.value:,}{'+' if self.more else ''}"

    def __bool__(self) -> bool:
        return self.value > 0


def capped(found: int, cap: int | None = None) -> CappedCount:
    """Return ``found`` rows as a count that goes no further than ``cap`` (default ``CAP``)."""
    limit = CAP if cap is None else cap
    return CappedCount(min(found, limit), found > limit)


def capped_count(queryset: QuerySet[Any]) -> CappedCount:
    """Count the rows of ``queryset``, reading at most ``CAP + 1`` of them.

    Give it the order of the index that answers it. Without one PostgreSQL may read
    the table from its start, expecting such rows everywhere, when all are at its end.
    """
    return capped(queryset.values("pk")[: CAP + 1].count())
