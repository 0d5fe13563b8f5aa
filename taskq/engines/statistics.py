"""The statement that adds to the counters of statistics. Several workers write the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import Engine

#: Rows for one statement. A row has some thirty parameters, and SQLite takes 32,766.
_ROWS = 500


def add_up(
    engine: Engine, table: str, keys: Sequence[str], counters: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Insert ``rows``, which have the columns ``keys`` and ``counters``; where a row has these keys, add to it."""
    columns = (*keys, *counters)
    if engine.connection.features.supports_update_conflicts_with_target:
        met, new = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET", "excluded.{}"
    else:
        met, new = "ON DUPLICATE KEY UPDATE", "VALUES({})"
    adding = ", ".join(f"{name} = {table}.{name} + {new.format(name)}" for name in counters)
    one = f"({engine.placeholders(columns)})"
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        with engine.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([one] * len(part))} {met} {adding}",
                [value for row in part for value in row],
            )
