"""Keeps PostgreSQL's planner to look-ups in indexes, for a few queries that read a few rows of large tables.

Its statistics may be of another time, or there may be none: then it would read and sort all rows of a state. The other
databases use the index that has the order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .base import Engine
from .postgresql_claims import LOOK_UPS

_STEADY = "SELECT " + ", ".join(f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in LOOK_UPS.items())


@contextmanager
def look_ups(engine: Engine) -> Iterator[None]:
    """Have the planner kept to look-ups, on PostgreSQL in one transaction.

    Elsewhere there is none: on SQLite, reading in a transaction may keep all writers waiting.
    """
    if engine.connection.vendor != "postgresql":
        yield
        return
    with engine.atomic():
        with engine.cursor() as cursor:
            cursor.execute(_STEADY)
        yield


def fetch(engine: Engine, query: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of one query, with the planner kept to look-ups: one round trip, and no transaction around it.

    PostgreSQL takes several statements as one text, which is a transaction of its own; not if the parameters are bound
    by the server.
    """
    connection = engine.connection
    in_one = connection.vendor == "postgresql" and not connection.settings_dict["OPTIONS"].get("server_side_binding")
    if not in_one:
        with look_ups(engine), engine.cursor() as cursor:
            cursor.execute(query, params)
            return list(cursor.fetchall())
    with engine.cursor() as cursor:
        cursor.execute(f"{_STEADY}; {query}", params)
        cursor.nextset()
        return list(cursor.fetchall())
