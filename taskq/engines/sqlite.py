"""SQLite: one writer at a time, short immediate transactions, ``PRAGMA data_version`` wakes.

The database lies on this machine, so this machine's clock is its clock.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

from taskq.models.fields import OCTETS, WHOLE
from taskq.records import NEVER, Claimed, DuePlace, Moment, Settlement

from . import large_texts
from .base import FINAL, GROUP_COLUMNS, MESSAGE_COLUMNS, NODE_COLUMNS, RUN_COLUMNS, Engine
from .claim_columns import claim_columns
from .listeners import Listener
from .marks import MESSAGE_CHANNEL, SCHEDULED_NAME
from .sqlite_listeners import SqliteListener, StoreThreadListener, note_own

_QUEUE = MESSAGE_COLUMNS.split(", ").index("queue")
#: Where the rows of messages and runs have moments.
_MESSAGE_MOMENTS = (12,)
_RUN_MOMENTS = (9, 11)


def _placeholders(columns: str) -> str:
    return ", ".join(["%s"] * len(columns.split(", ")))


_INSERT_MESSAGE = (
    f"INSERT INTO taskq_message ({MESSAGE_COLUMNS}, created_at, token, acked, revoked) "
    f"VALUES ({_placeholders(MESSAGE_COLUMNS)}, %s, '', 0, '')"
)
_INSERT_SCHEDULED = (
    f"INSERT INTO taskq_scheduledmessage ({MESSAGE_COLUMNS}, created_at, due_at) "
    f"VALUES ({_placeholders(MESSAGE_COLUMNS)}, %s, %s)"
)
_RESET = ", ".join(f"{c} = excluded.{c}" for c in [*RUN_COLUMNS.split(", ")[1:], "created_at"]) + (
    ", result = NULL, traceback = NULL, children = NULL, started_at = NULL, finished_at = NULL, runtime = NULL"
)
_INSERT_RUN = {
    reset: f"INSERT INTO taskq_taskrun ({RUN_COLUMNS}, created_at) VALUES ({_placeholders(RUN_COLUMNS)}, %s) "
    "ON CONFLICT (task_id) "
    + (f"DO UPDATE SET {_RESET} WHERE taskq_taskrun.state IN {FINAL}" if reset else "DO NOTHING")
    for reset in (False, True)
}
_UPDATE_RUN = (
    "UPDATE taskq_taskrun SET state = %s, result = %s, content_type = %s, traceback = %s, "
    "started_at = COALESCE(%s, started_at), finished_at = %s, runtime = %s, retries = %s, worker = %s, children = %s "
    f"WHERE task_id = %s AND state NOT IN {FINAL}"
)
_UPSERT_RUN = (
    "INSERT INTO taskq_taskrun (state, result, content_type, traceback, started_at, finished_at, runtime, retries, "
    "worker, children, task_id, name, queue, arguments, root_id, parent_id, group_id, priority, created_at) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0, %s) "
    "ON CONFLICT (task_id) DO UPDATE SET state = excluded.state, result = excluded.result, "
    "content_type = excluded.content_type, traceback = excluded.traceback, "
    "started_at = COALESCE(excluded.started_at, started_at), finished_at = excluded.finished_at, "
    "runtime = excluded.runtime, retries = excluded.retries, worker = excluded.worker, "
    f"children = excluded.children WHERE state NOT IN {FINAL}"
)
_END_RUN = f"{_UPSERT_RUN} RETURNING task_id"
_INSERT_GROUP = (
    f"INSERT INTO taskq_group ({GROUP_COLUMNS}, created_at) VALUES ({_placeholders(GROUP_COLUMNS)}, %s) "
    "ON CONFLICT (group_id) DO UPDATE SET "
    + ", ".join(f"{c} = excluded.{c}" for c in GROUP_COLUMNS.split(", ")[1:])
    + " WHERE remaining <= 0"
)
_INSERT_NODE = (
    f"INSERT INTO taskq_node ({NODE_COLUMNS}, created_at) VALUES ({_placeholders(NODE_COLUMNS)}, %s) "
    "ON CONFLICT (task_id) DO "
)
_NODE_RESET = "UPDATE SET " + ", ".join(f"{c} = excluded.{c}" for c in NODE_COLUMNS.split(", ") if c != "task_id")
_INSERT_EVENT = "INSERT INTO taskq_taskevent (task_id, kind, at, worker, detail) VALUES (%s, %s, %s, %s, %s)"
#: The most memory for pages on the store thread. With SQLite's 2 MiB a claim reads a large row several times, if its
#: text is in it: a row of another program, or of an older version.
_CACHE_KIB = 16 * 1024
#: The number of pages in the write-ahead log at which the store thread's commits copy them (checkpoint). SQLite's own
#: number is 1,000.
_MOST_IN_LOG = 16_000
#: A column of time as a Unix time.
_UNIX = "(julianday({}) - 2440587.5) * 86400"
#: The stand-in of a large text is a blob. A claim brings no body for it.
_CLAIMED = claim_columns("length(CAST({} AS BLOB))", "typeof(body) = 'text'")
_CLAIM = (
    "UPDATE taskq_message SET token = %s WHERE id IN (SELECT id FROM taskq_message INDEXED BY taskq_message_to_claim "
    f"WHERE token = '' AND queue = %s ORDER BY priority DESC, id LIMIT %s) RETURNING {_CLAIMED}, "
    # As text: the column by itself would be converted to a naive datetime.
    f"expires_at || '', {_UNIX.format('created_at')}"
)


@lru_cache(maxsize=16)
def _second_text(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).replace(tzinfo=None).isoformat(" ")


def _time_text(unix: float | None) -> str | None:
    """Return a Unix time as Django stores times on SQLite. The text of a second is cached."""
    if unix is None:
        return None
    seconds = math.floor(unix)
    microseconds = round((unix - seconds) * 1e6)
    if microseconds == 1_000_000:
        return _second_text(seconds + 1) + ".000000"
    return f"{_second_text(seconds)}.{microseconds:06}"


def _unix_time(text: str) -> float:
    """Reverse ``_time_text``."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _moment_text(moment: Moment, now: float) -> str | None:
    at, seconds = moment
    return _time_text(at if seconds is None else now + seconds)


def _with_time_texts(row: Sequence[Any], places: Sequence[int], now: float) -> list[Any]:
    values = list(row)
    for place in reversed(places):
        moment = values[place], values[place + 1]
        values[place : place + 2] = [None if moment == NEVER else _moment_text(moment, now)]
    return values


class SqliteEngine(Engine):
    """See ``base.Engine``."""

    skip_locked = False
    # A writer keeps all others waiting: a transaction stays short.
    chunk = 250
    batch_bytes = 2_000_000
    own_clock = False
    false, true = "0", "1"
    whole_text, byte_length = WHOLE, OCTETS
    now_sql = "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')"
    unix_time = _UNIX

    def is_transient(self, error: Exception) -> bool:
        """The database is locked."""
        return "locked" in str(error) or "busy" in str(error)

    def lacks_tables(self, error: Exception) -> bool:
        return any(words in str(error) for words in ("no such table", "no such column", "has no column named"))

    def refuses(self, error: Exception) -> bool:
        """A connection that was closed is a ProgrammingError, and says nothing about a value."""
        return "closed database" not in str(error) and super().refuses(error)

    def now(self) -> float:
        return time.time()

    def time_parameter(self, unix: float | None) -> Any:
        return _time_text(unix)

    def send(
        self, message: Sequence[Any], run: Sequence[Any] | None, *, due: Moment | None, reset: bool, wake: bool
    ) -> None:
        """One transaction."""
        message, run, texts = large_texts.with_stand_ins(message, run)
        now = time.time()
        text = _time_text(now)
        values = [*_with_time_texts(message, _MESSAGE_MOMENTS, now), text]
        with self.atomic() if texts or run is not None else nullcontext(), self.cursor() as cursor:
            if run is not None:
                cursor.execute(_INSERT_RUN[reset], [*_with_time_texts(run, _RUN_MOMENTS, now), text])
            if due is None:
                cursor.execute(_INSERT_MESSAGE, values)
            else:
                cursor.execute(_INSERT_SCHEDULED, [*values, _moment_text(due, now)])
            for statement, params in texts:
                cursor.execute(statement, params)
        note_own([SCHEDULED_NAME if due is not None else message[_QUEUE]])

    def insert_messages(self, rows: Sequence[Sequence[Any]]) -> None:
        now = time.time()
        text = _time_text(now)
        rows, texts = large_texts.for_each(large_texts.message_with_stand_in, rows)
        self._run(_INSERT_MESSAGE, [(*_with_time_texts(row, _MESSAGE_MOMENTS, now), text) for row in rows], texts)

    def insert_scheduled(self, rows: Sequence[Sequence[Any]], due: Sequence[Moment]) -> None:
        now = time.time()
        text = _time_text(now)
        rows, texts = large_texts.for_each(large_texts.message_with_stand_in, rows)
        timed = [
            (*_with_time_texts(r, _MESSAGE_MOMENTS, now), text, _moment_text(d, now))
            for r, d in zip(rows, due, strict=True)
        ]
        self._run(_INSERT_SCHEDULED, timed, texts)

    def insert_runs(self, rows: Sequence[Sequence[Any]], *, reset: bool) -> None:
        now = time.time()
        text = _time_text(now)
        rows, texts = large_texts.for_each(large_texts.run_with_stand_in, rows)
        self._run(_INSERT_RUN[reset], [(*_with_time_texts(row, _RUN_MOMENTS, now), text) for row in rows], texts)

    def _run(self, sql: str, rows: list[Any], texts: large_texts.Statements | None = None) -> None:
        with self.atomic() if texts else nullcontext(), self.cursor() as cursor:
            if len(rows) == 1:
                cursor.execute(sql, rows[0])
            else:
                cursor.executemany(sql, rows)
            for statement, params in texts or ():
                cursor.execute(statement, params)

    def claim(self, queue: str, limit: int, token: str, after: Mapping[int, int] | None = None) -> list[Claimed]:
        with self.cursor() as cursor:
            cursor.execute(_CLAIM, [token, queue, limit])
            claimed = self.as_messages(cursor.fetchall(), lambda text: _unix_time(text) - time.time())
        # RETURNING has no order. Sorting is stable: first by the second key.
        claimed.sort(key=attrgetter("id"))
        claimed.sort(key=attrgetter("priority"), reverse=True)
        return claimed

    def with_messages(self, queues: Sequence[str]) -> set[str]:
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT value FROM json_each(%s) WHERE EXISTS "
                "(SELECT 1 FROM taskq_message WHERE token = '' AND queue = value)",
                [json.dumps(list(queues))],
            )
            return {row[0] for row in cursor.fetchall()}

    def lock_due(self, limit: int, after: DuePlace | None = None) -> list[DuePlace]:
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT due_at || '', id FROM taskq_scheduledmessage WHERE due_at <= %s ORDER BY due_at, id LIMIT %s",
                [_time_text(time.time()), limit],
            )
            return [(_unix_time(due), number) for due, number in cursor.fetchall()]

    def next_due(self, after: DuePlace | None = None) -> float | None:
        with self.cursor() as cursor:
            cursor.execute("SELECT due_at || '' FROM taskq_scheduledmessage ORDER BY due_at LIMIT 1")
            row = cursor.fetchone()
        return row and _unix_time(row[0]) - time.time()

    def update_runs(self, settlements: Sequence[Settlement]) -> None:
        self._run(_UPDATE_RUN, [_end_values(s) for s in settlements])

    def upsert_runs(self, settlements: Sequence[Settlement]) -> None:
        self._run(_UPSERT_RUN, _upsert_rows(settlements))

    def insert_groups(self, rows: Sequence[Sequence[Any]]) -> None:
        now = _time_text(time.time())
        rows, texts = large_texts.for_each(large_texts.group_with_stand_in, rows)
        self._run(_INSERT_GROUP, [(*row, now) for row in rows], texts)

    def insert_nodes(self, rows: Sequence[Sequence[Any]], *, reset: bool) -> None:
        now = _time_text(time.time())
        self._run(_INSERT_NODE + (_NODE_RESET if reset else "NOTHING"), [(*row, now) for row in rows])

    def insert_events(self, rows: Sequence[tuple[str, str, float, str, str]]) -> None:
        self._run(
            _INSERT_EVENT, [(task, kind, _time_text(at), worker, detail) for task, kind, at, worker, detail in rows]
        )

    def end_runs(self, settlements: Sequence[Settlement]) -> set[str]:
        """One statement a row: ``executemany`` returns nothing."""
        ended: set[str] = set()
        with self.cursor() as cursor:
            for row in _upsert_rows(settlements):
                cursor.execute(_END_RUN, row)
                ended.update(task_id for (task_id,) in cursor.fetchall())
        return ended

    def make_steady(self) -> None:
        """Let this thread's connection keep the pages of a large row in memory, and leave checkpoints to others.

        The commit that brings the write-ahead log to 1,000 pages copies them and waits for the disk: half a second
        after a large message, and no task goes on. Connections of other threads and processes make checkpoints too.
        """
        with self.cursor() as cursor:
            cursor.execute("PRAGMA wal_autocheckpoint")
            if 0 < cursor.fetchone()[0] < _MOST_IN_LOG:
                cursor.execute(f"PRAGMA wal_autocheckpoint = {_MOST_IN_LOG}")
            cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")

    def notify(self, channel: str, names: Collection[str]) -> None:
        """Note the names for the store thread, which does not see its own commits. Others see the commit itself."""
        if channel == MESSAGE_CHANNEL:
            note_own(names)

    def message_listener(self) -> Listener:
        return SqliteListener(self.alias)

    def store_thread_listener(self) -> Listener:
        return StoreThreadListener(self.alias)

    def result_listener(self) -> Listener:
        return SqliteListener(self.alias)


def _end_values(s: Settlement) -> tuple[Any, ...]:
    return (
        s.state, s.result, s.content_type, s.traceback, _time_text(s.started), _time_text(s.finished), s.runtime,
        s.retries, s.worker, s.children, s.task_id,
    )  # fmt: skip


def _upsert_rows(settlements: Sequence[Settlement]) -> list[tuple[Any, ...]]:
    now = _time_text(time.time())
    return [
        (*_end_values(s), s.name, s.queue, s.arguments, s.root_id, s.parent_id, s.group_id, now) for s in settlements
    ]


engine_class = SqliteEngine
