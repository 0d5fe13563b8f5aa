"""Several small queries in one statement, for pages that show rows of many tables.

Each row travels as a JSON array, so that tables with different columns fit into one UNION.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, CharField, DateTimeField, FloatField, QuerySet, TextField
from django.db.models.sql.compiler import SQLCompiler

from .base import Engine
from .look_ups import fetch

_ARRAY = {
    "postgresql": "json_build_array({0})::text",
    "sqlite": "json_array({0})",
    "mysql": "JSON_ARRAY({0})",
}
#: A text as an element of the array. MariaDB refuses to mix the collations of its columns.
_TEXT = {"mysql": "CONVERT({0} USING utf8mb4) COLLATE utf8mb4_bin"}


def fetch_combined(engine: Engine, queries: Sequence[QuerySet[Any, Any]]) -> list[list[Any]]:
    """Return the rows of each query, as iterating over it does: instances, or tuples of ``values_list``.

    The queries are of taskq's own models, whose times are UTC in rows. The rows of a query come in no order; its own
    order only counts for its limit. SQLite rounds floats to 15 digits.
    """
    connection = engine.connection
    found: list[list[Any]] = [[] for _ in queries]
    parts: list[str] = []
    params: list[Any] = []
    compilers: dict[int, SQLCompiler] = {}
    for number, query in enumerate(queries):
        compiler = query.query.get_compiler(using=engine.alias)
        try:
            sql, values = compiler.as_sql(with_col_aliases=True)
        except EmptyResultSet:
            continue
        parts.append(f"SELECT {number}, {_array(connection, compiler)} FROM ({sql}) AS part{number}")
        params += values
        compilers[number] = compiler
    if not parts:
        return found
    rows = fetch(engine, " UNION ALL ".join(parts), params)
    makers = {number: _row_maker(engine, compiler) for number, compiler in compilers.items()}
    for number, text in rows:
        found[number].append(makers[number](json.loads(text)))
    return found


def _array(connection: BaseDatabaseWrapper, compiler: SQLCompiler) -> str:
    """Return the expression of a row as an array of its columns."""
    columns = []
    for column, _, alias in compiler.select:
        is_text = isinstance(column.output_field, CharField | TextField)
        name = connection.ops.quote_name(str(alias))
        columns.append(_TEXT.get(connection.vendor, "{0}").format(name) if is_text else name)
    return _ARRAY[connection.vendor].format(", ".join(columns))


def _row_maker(engine: Engine, compiler: SQLCompiler) -> Callable[[list[Any]], Any]:
    """Return the function that makes an instance, or a tuple, of the values of a row."""
    convert = {
        place: _CONVERTERS[kind]
        for place, (column, _, _) in enumerate(compiler.select)
        for kind in _CONVERTERS
        if isinstance(column.output_field, kind)
    }
    info = compiler.klass_info if compiler.query.default_cols else None

    def make(values: list[Any]) -> Any:
        for place, function in convert.items():
            if values[place] is not None:
                values[place] = function(values[place])
        if info is None:
            return tuple(values)
        fields = info["select_fields"]
        names = [compiler.select[place][0].target.attname for place in fields]
        row = info["model"].from_db(engine.alias, names, [values[place] for place in fields])
        for name, place in compiler.annotation_col_map.items():
            setattr(row, name, values[place])
        return row

    return make


def _utc_datetime(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


_CONVERTERS: dict[type, Callable[[Any], Any]] = {DateTimeField: _utc_datetime, BooleanField: bool, FloatField: float}
