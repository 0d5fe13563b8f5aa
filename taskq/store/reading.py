"""Reads for pages: several counts in one statement, and the place of a time among the runs. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from taskq.conf import settings
from taskq.engines import for_alias, reading
from taskq.engines.look_ups import look_ups


def counts(queries: Sequence[QuerySet[Any, Any]], alias: str | None = None) -> list[int]:
    """Return how many rows each of ``queries`` has. Give them a limit."""
    engine = for_alias(alias or settings.DATABASE)
    # Without statistics, or with old ones, PostgreSQL would read whole tables to find a few rows of an index.
    with look_ups(engine):
        return reading.counts(engine, queries) if queries else []


def first_since(at: datetime, alias: str | None = None) -> int | None:
    """Return the id from which on runs were made at or after ``at``, by some 25 look-ups; ``None`` without runs."""
    return reading.first_since(for_alias(alias or settings.DATABASE), at.timestamp())
