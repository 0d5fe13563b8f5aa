"""Keeps PostgreSQL's planner to indexes for reads of a few rows of large tables: ``Engine.steady`` is for writes.

With old statistics, or none, it would read and sort all rows of a state. The other databases use the index that has the
order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .base import Engine
from .postgresql_claims import STEADY_HERE


@contextmanager
def look_ups(engine: Engine) -> Iterator[None]:
    """Keep the planner to indexes within this block: on PostgreSQL one transaction, on other databases nothing.

    On SQLite a transaction that only reads may keep all writers waiting.
    """
    if engine.connection.vendor != "postgresql":
        yield
        return
    with engine.atomic():
        with engine.cursor() as cursor:
            cursor.execute(STEADY_HERE)
        yield


def fetch(engine: Engine, query: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of one query, with the planner kept to indexes, in one round trip.

    PostgreSQL takes several statements as one text, and runs them as one transaction, unless the server binds the
    parameters.
    """
    connection = engine.connection
    in_one = connection.vendor == "postgresql" and not connection.settings_dict["OPTIONS"].get("server_side_binding")
    if not in_one:
        with look_ups(engine), engine.cursor() as cursor:
            cursor.execute(query, params)
            return list(cursor.fetchall())
    with engine.cursor() as cursor:
        cursor.execute(f"{STEADY_HERE}; {query}", params)
        cursor.nextset()
        return list(cursor.fetchall())
