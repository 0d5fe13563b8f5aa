"""Keeps PostgreSQL's planner to look-ups in indexes, for a few queries that read a few rows of large tables.

Its statistics may be of another time, or there may be none: then it would read and sort all rows of a state. The other
databases use the index that has the order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
