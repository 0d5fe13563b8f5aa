"""Reads for pages: several counts or queries in one statement, the place of a time among the runs, and the time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet

from taskq.conf import settings
from taskq.engines import for_alias, page_queries
from taskq.engines.combined_queries import fetch_combined


def counts(queries: Sequence[QuerySet[Any, Any]], alias: str | None = None) -> list[int]:
    """Return how many rows each of ``queries`` has. Give them a limit."""
    return page_queries.counts(for_alias(alias or settings.DATABASE), queries) if queries else []


def together(*queries: QuerySet[Any, Any], alias: str | None = None) -> list[list[Any]]:
    """Return the rows of several small ``queries`` of taskq's models, read by one statement. They come in no order.

    >>> workers, pauses = together(Worker.objects.all(), QueuePause.objects.all())  # doctest: +SKIP
    """
    return fetch_combined(for_alias(alias or settings.DATABASE), queries)


def first_since(at: datetime, alias: str | None = None) -> int | None:
    """Return the id from which on runs were made at or after ``at``, by some 25 look-ups; ``None`` without runs."""
    return page_queries.first_since(for_alias(alias or settings.DATABASE), at.timestamp())


def now(alias: str | None = None) -> datetime:
    """Return the time by the clock of the database, which writes the times of the rows."""
    return datetime.fromtimestamp(for_alias(alias or settings.DATABASE).now(), UTC)
