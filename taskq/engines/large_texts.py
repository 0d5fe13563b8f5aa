"""Large texts on SQLite: rows with a large body or large arguments are inserted with a stand-in for it.

``models.large_text`` says why. Called by ``sqlite`` only. Each function returns changed rows, and the statements that
insert their texts. The caller executes these in the same transaction, after it has inserted the rows.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from .base import GROUP_COLUMNS, MESSAGE_COLUMNS, RUN_COLUMNS

#: The most characters of a text that stays in its row.
LARGE = 65_536
#: The characters that ``_common_length`` compares at a time.
_STEP = 4096
_BODY = MESSAGE_COLUMNS.split(", ").index("body")
_TASK_ID, _ARGUMENTS = (RUN_COLUMNS.split(", ").index(name) for name in ("task_id", "arguments"))
_INSERT = "INSERT INTO taskq_largetext (key, content) VALUES (%s, CAST(%s AS BLOB))"
_GROUP_ID, _GROUP_BODY = (GROUP_COLUMNS.split(", ").index(name) for name in ("group_id", "body"))
#: Inserts a text if the row has its stand-in. A run or group of an id that was sent before may have stayed as it was.
_INSERT_FOR = (
    "INSERT INTO taskq_largetext (key, content) SELECT %s, CAST(%s AS BLOB) "
    "WHERE EXISTS (SELECT 1 FROM {} WHERE {} = %s AND substr({}, 1, 32) = %s)"
)
_INSERT_FOR_RUN = _INSERT_FOR.format("taskq_taskrun", "task_id", "arguments")
_INSERT_FOR_GROUP = _INSERT_FOR.format("taskq_group", "group_id", "body")
Row = Sequence[Any]
#: Statements with their parameters.
Statements = list[tuple[str, list[Any]]]


def with_stand_ins(message: Row, run: Row | None) -> tuple[Row, Row | None, Statements]:
    """Return a message and its run with stand-ins. A large text that both begin with is stored once."""
    if run is not None and _is_large(message[_BODY]) and _is_large(run[_ARGUMENTS]):
        body, arguments = message[_BODY], run[_ARGUMENTS]
        if (length := _common_length(body, arguments)) > LARGE:
            key = _new_key()
            message = _with(message, _BODY, key, body[length:])
            run = _with(run, _ARGUMENTS, key, arguments[length:])
            return message, run, [(_INSERT, [key, body[:length]])]
    message, texts = message_with_stand_in(message)
    if run is not None:
        run, more = run_with_stand_in(run)
        texts += more
    return message, run, texts


def message_with_stand_in(row: Row) -> tuple[Row, Statements]:
    """Return a message with a stand-in for its body, if that is large."""
    text = row[_BODY]
    if not _is_large(text):
        return row, []
    key = _new_key()
    return _with(row, _BODY, key), [(_INSERT, [key, text])]


def run_with_stand_in(row: Row) -> tuple[Row, Statements]:
    """Return a run with a stand-in for its arguments, if they are large."""
    return _row_with_stand_in(row, _ARGUMENTS, _INSERT_FOR_RUN, row[_TASK_ID])


def group_with_stand_in(row: Row) -> tuple[Row, Statements]:
    """Return a group with a stand-in for its body, if that is large."""
    return _row_with_stand_in(row, _GROUP_BODY, _INSERT_FOR_GROUP, row[_GROUP_ID])


def _row_with_stand_in(row: Row, place: int, insert: str, own_id: str) -> tuple[Row, Statements]:
    text = row[place]
    if not _is_large(text):
        return row, []
    key = _new_key()
    return _with(row, place, key), [(insert, [key, text, own_id, key.encode()])]


def for_each(change: Callable[[Row], tuple[Row, Statements]], rows: Sequence[Row]) -> tuple[list[Row], Statements]:
    """Return many rows with stand-ins; ``change`` is one of the three functions for a single row."""
    changed = [change(row) for row in rows]
    return [row for row, _ in changed], [statement for _, texts in changed for statement in texts]


def _is_large(text: str | None) -> bool:
    return text is not None and len(text) > LARGE


def _common_length(one: str, other: str) -> int:
    """Return the length of the text that both begin with, rounded down to whole steps."""
    place, end = 0, min(len(one), len(other)) - _STEP
    while place <= end and one[place : place + _STEP] == other[place : place + _STEP]:
        place += _STEP
    return place


def _new_key() -> str:
    return secrets.token_hex(16)


def _with(row: Row, place: int, key: str, end: str = "") -> Row:
    """Return the row with a stand-in at ``place``: the key of the text, and ``end``, which is not stored apart."""
    return (*row[:place], (key + end).encode(), *row[place + 1 :])
