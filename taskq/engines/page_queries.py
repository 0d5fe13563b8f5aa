"""Statements for pages that people read: several counts at once, and the place of a time among the runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet

from .base import Engine
from .look_ups import fetch

_MIDDLE = "(low + high - (low + high) %% 2) / 2"
#: The time of the run in the middle: the earliest of its neighbours, since a run that was sent again has a later one.
_PROBE = (
    f"COALESCE((SELECT MIN(created_at) FROM taskq_taskrun WHERE id >= {_MIDDLE} AND id < {_MIDDLE} + 20), "
    f"(SELECT created_at FROM taskq_taskrun WHERE id >= {_MIDDLE} ORDER BY id LIMIT 1))"
)
#: A binary search over the ids, which are in the order of ``created_at``. MIN and MAX in one SELECT would have SQLite
#: read all ids.
_SINCE = f"""
WITH RECURSIVE search (low, high) AS (
    SELECT (SELECT MIN(id) FROM taskq_taskrun), (SELECT MAX(id) FROM taskq_taskrun) + 1
    UNION ALL
    SELECT CASE WHEN {_PROBE} < %s THEN {_MIDDLE} + 1 ELSE low END,
           CASE WHEN {_PROBE} < %s THEN high ELSE {_MIDDLE} END
    FROM search WHERE low < high
)
SELECT low FROM search WHERE low >= high
"""


def counts(engine: Engine, queries: Sequence[QuerySet[Any, Any]]) -> list[int]:
    """Return how many rows each of ``queries`` has, in one statement."""
    parts, params = [], []
    for query in queries:
        try:
            sql, values = query.query.get_compiler(using=engine.alias).as_sql()
        except EmptyResultSet:
            sql, values = "SELECT 1 WHERE 1 = 0", ()
        parts.append(f"(SELECT COUNT(*) FROM ({sql}) AS counted)")
        params += values
    # Without statistics, or with old ones, PostgreSQL would read whole tables to find a few rows of an index.
    (found,) = fetch(engine, f"SELECT {', '.join(parts)}", params)
    return list(found)


def first_since(engine: Engine, unix: float) -> int | None:
    """Return the first id of the runs that were made at or after ``unix``; ``None`` if there is no run.

    A run that was sent again under its id counts by the time of its neighbours.
    """
    at = engine.time_parameter(unix)
    with engine.cursor() as cursor:
        cursor.execute(_SINCE, [at, at])
        row = cursor.fetchone()
    return None if row is None or row[0] is None else int(row[0])
