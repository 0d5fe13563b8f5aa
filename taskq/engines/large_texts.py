"""Large texts on SQLite: what is inserted with a large body, or large arguments, gets a stand-in for it.

``models.large_text`` says why. Called by ``sqlite`` only; the statements that it gets are for the transaction that
inserts the rows, behind these.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from .base import GROUP_COLUMNS, MESSAGE_COLUMNS, RUN_COLUMNS

#: The most characters of a text that stays in its row.
LARGE = 65_536
#: The characters that are compared at once.
_STEP = 4096
_BODY = MESSAGE_COLUMNS.split(", ").index("body")
_TASK_ID, _ARGUMENTS = (RUN_COLUMNS.split(", ").index(name) for name in ("task_id", "arguments"))
_INSERT = "INSERT INTO taskq_largetext (key, content) VALUES (%s, CAST(%s AS BLOB))"
_GROUP_ID, _GROUP_BODY = (GROUP_COLUMNS.split(", ").index(name) for name in ("group_id", "body"))
#: The run or the group of an id that was sent before may be there, and stay as it is.
_INSERT_FOR = (
    "INSERT INTO taskq_largetext (key, content) SELECT %s, CAST(%s AS BLOB) "
    "WHERE EXISTS (SELECT 1 FROM {} WHERE {} = %s AND substr({}, 1, 32) = %s)"
)
_INSERT_FOR_RUN = _INSERT_FOR.format("taskq_taskrun", "task_id", "arguments")
_INSERT_FOR_GROUP = _INSERT_FOR.format("taskq_group", "group_id", "body")
Row = Sequence[Any]
#: Statements with their parameters.
Statements = list[tuple[str, list[Any]]]


def apart(message: Row, run: Row | None) -> tuple[Row, Row | None, Statements]:
    """Return a message and its run with stand-ins for large texts, and the statements that insert these texts."""
    if run is not None and _is_large(message[_BODY]) and _is_large(run[_ARGUMENTS]):
        body, arguments = message[_BODY], run[_ARGUMENTS]
        if (length := _alike(body, arguments)) > LARGE:
            key = _new_key()
            message = _with(message, _BODY, key, body[length:])
            run = _with(run, _ARGUMENTS, key, arguments[length:])
            return message, run, [(_INSERT, [key, body[:length]])]
    message, texts = message_apart(message)
    if run is not None:
        run, more = run_apart(run)
        texts += more
    return message, run, texts


def message_apart(row: Row) -> tuple[Row, Statements]:
    """The same for a message alone."""
    text = row[_BODY]
    if not _is_large(text):
        return row, []
    key = _new_key()
    return _with(row, _BODY, key), [(_INSERT, [key, text])]


def run_apart(row: Row) -> tuple[Row, Statements]:
    """The same for a run alone."""
    return _row_apart(row, _ARGUMENTS, _INSERT_FOR_RUN, row[_TASK_ID])


def group_apart(row: Row) -> tuple[Row, Statements]:
    """The same for a group."""
    return _row_apart(row, _GROUP_BODY, _INSERT_FOR_GROUP, row[_GROUP_ID])


def _row_apart(row: Row, place: int, insert: str, own_id: str) -> tuple[Row, Statements]:
    text = row[place]
    if not _is_large(text):
        return row, []
    key = _new_key()
    return _with(row, place, key), [(insert, [key, text, own_id, key.encode()])]


def each(apart_one: Callable[[Row], tuple[Row, Statements]], rows: Sequence[Row]) -> tuple[list[Row], Statements]:
    """The same for many rows: ``apart_one`` is ``message_apart``, ``run_apart`` or ``group_apart``."""
    parted = [apart_one(row) for row in rows]
    return [row for row, _ in parted], [statement for _, texts in parted for statement in texts]


def _is_large(text: str | None) -> bool:
    return text is not None and len(text) > LARGE


def _alike(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common, or somewhat fewer."""
    place, end = 0, min(len(one), len(other)) - _STEP
    while place <= end and one[place : place + _STEP] == other[place : place + _STEP]:
        place += _STEP
    return place


def _new_key() -> str:
    return secrets.token_hex(16)


def _with(row: Row, place: int, key: str, end: str = "") -> Row:
    """Return the row with a stand-in."""
    return (*row[:place], (key + end).encode(), *row[place + 1 :])
