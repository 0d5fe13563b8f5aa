"""MariaDB from 10.6: many rows in one INSERT, a claim of two statements, waiting by polling."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DataError, IntegrityError

from taskq.records import Claimed, DuePlace, Moment, Settlement

from .base import FINAL, GROUP_COLUMNS, MESSAGE_COLUMNS, NODE_COLUMNS, RUN_COLUMNS, Engine
from .claim_columns import claim_columns

_NOW = "UTC_TIMESTAMP(6)"
#: The time of a ``records.Moment``.
_MOMENT = f"COALESCE(%s, DATE_ADD({_NOW}, INTERVAL %s MICROSECOND))"
#: Where the rows of messages and runs have moments.
_MESSAGE_MOMENTS = (12,)
_RUN_MOMENTS = (9, 11)
_END_COLUMNS = (
    "task_id, result, content_type, traceback, started_at, finished_at, runtime, retries, worker, children, name, "
    "queue, arguments, root_id, parent_id, group_id, state"
)


def _placeholders(columns: str) -> str:
    return ", ".join(_MOMENT if name in ("expires_at", "eta") else "%s" for name in columns.split(", "))


def _update(values: dict[str, str], *, when_final: bool) -> str:
    """Return an ON DUPLICATE KEY clause that acts only on rows that are final, or only on those that are not.

    Assignments are made from left to right and see each other, so the state comes last.
    """
    condition = f"state IN {FINAL}"
    picks = "IF({c}, {v}, {n})" if when_final else "IF({c}, {n}, {v})"
    return "ON DUPLICATE KEY UPDATE " + ", ".join(
        f"{name} = " + picks.format(c=condition, v=value, n=name) for name, value in values.items()
    )


_CLEARED = ("result", "traceback", "children", "started_at", "finished_at", "runtime")
_RESET = {c: f"VALUES({c})" for c in (*RUN_COLUMNS.split(", ")[1:], "created_at") if c != "state"}
_RESET |= dict.fromkeys(_CLEARED, "NULL") | {"state": "VALUES(state)"}
_ENDED = {
    c: f"VALUES({c})"
    for c in ("result", "content_type", "traceback", "finished_at", "runtime", "retries", "worker", "children")
} | {"started_at": "COALESCE(VALUES(started_at), started_at)", "state": "VALUES(state)"}

_MESSAGE_ROW = f"({_placeholders(MESSAGE_COLUMNS)}, {_NOW}, '', 0, '')"
_SCHEDULED_ROW = f"({_placeholders(MESSAGE_COLUMNS)}, {_NOW}, {_MOMENT})"
_RUN_ROW = f"({_placeholders(RUN_COLUMNS)}, {_NOW})"
_END_ROW = f"({_placeholders(_END_COLUMNS)}, 0, {_NOW})"
_GROUP_ROW = f"({_placeholders(GROUP_COLUMNS)}, {_NOW})"
# What remains comes last: the others look at it.
_GROUP_RESET = "ON DUPLICATE KEY UPDATE " + ", ".join(
    f"{c} = IF(remaining <= 0, VALUES({c}), {c})"
    for c in ("size", "failed", "body", "root_id", "parent_id", "remaining")
)
_NODE_ROW = f"({_placeholders(NODE_COLUMNS)}, {_NOW})"
_NODE_RESET = ", ".join(f"{c} = VALUES({c})" for c in NODE_COLUMNS.split(", ") if c != "task_id")

#: A row is larger than ``max_allowed_packet``.
_TOO_LARGE = 1153
#: Errors about a value: it is in another character set (1267, 1300, 1366, 3854), no time (1292), no number of the
#: column (1264), too long (1406), or too large.
_VALUES = {_TOO_LARGE, 1264, 1267, 1292, 1300, 1366, 1406, 3854}
#: The number of characters that fit into one statement on any server, whatever they are.
_SURELY_FITS = 100_000
#: Bytes of a statement that are not its rows' values.
_MARGIN = 65_536


def _size(value: Any) -> int:
    """Return how many bytes a value takes in a statement, at most."""
    if not isinstance(value, str):
        return 32
    escaped = sum(value.count(character) for character in "\"'\\\n\r\0\x1a")
    return len(value.encode("utf-8", "surrogatepass")) + escaped + 16


class MariadbEngine(Engine):
    """See ``base.Engine``."""

    false, true = "0", "1"
    token_check = "CONCAT(token, '')"
    # A subquery instead of the join would take three times as long.
    move_result_sql = (
        "UPDATE taskq_taskrun r JOIN taskq_group g ON g.group_id = %s SET r.result = g.body WHERE r.task_id = %s"
    )
    now_sql, unix_time = _NOW, "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {}) / 1e6"
    # If a session does not wait for locks at all, a SELECT that skips a locked row makes the COMMIT fail (error 1180).
    skip_locked_prefix = "SET STATEMENT innodb_lock_wait_timeout = 1 FOR "

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        #: The time-out that ``set_patience`` gave to a driver's connection.
        self._patience: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def is_transient(self, error: Exception) -> bool:
        """Deadlock (1213), lock wait time-out (1205), record changed since read (1020)."""
        return bool(error.args) and error.args[0] in (1213, 1205, 1020)

    def lacks_tables(self, error: Exception) -> bool:
        return bool(error.args) and error.args[0] in (1146, 1054)

    def set_patience(self, seconds: float) -> None:
        # MariaDB knows whole seconds only: 0 is not to wait at all.
        whole = round(seconds) if seconds < 0.1 else max(1, round(seconds))
        wrapper = self.connection
        wrapper.ensure_connection()
        if self._patience.get(wrapper.connection) != whole:
            with self.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = %s, lock_wait_timeout = %s", [whole, whole])
            self._patience[wrapper.connection] = whole

    def gave_up(self, error: Exception) -> bool:
        """Lock wait time-out (1205)."""
        return bool(error.args) and error.args[0] == 1205

    def refuses(self, error: Exception) -> bool:
        number = error.args[0] if error.args else None
        if number == _TOO_LARGE:
            self.connection.close()  # the server has closed it
        if isinstance(number, int):  # an error of the server: its number tells more than the class
            return number in _VALUES or isinstance(error, DataError | IntegrityError)
        return super().refuses(error)

    def tables_without_transactions(self) -> list[str]:
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
                "AND table_name LIKE 'taskq\\_%%' AND engine <> 'InnoDB' ORDER BY table_name"
            )
            return [row[0] for row in cursor.fetchall()]

    def now(self) -> float:
        with self.cursor() as cursor:
            cursor.execute(f"SELECT {_NOW}")
            moment: datetime = cursor.fetchone()[0]
        return moment.replace(tzinfo=UTC).timestamp()

    def time_parameter(self, unix: float | None) -> Any:
        return None if unix is None else datetime.fromtimestamp(unix, UTC).replace(tzinfo=None)

    def _row(self, row: Sequence[Any], moments: Sequence[int]) -> list[Any]:
        values = list(row)
        for place in moments:
            values[place : place + 2] = self._moment(values[place], values[place + 1])
        return values

    def _moment(self, at: float | None, seconds: float | None) -> tuple[Any, int | None]:
        return self.time_parameter(at), None if seconds is None else round(seconds * 1e6)

    def send(
        self, message: Sequence[Any], run: Sequence[Any] | None, *, due: Moment | None, reset: bool, wake: bool
    ) -> None:
        """One transaction."""
        with self.atomic():
            if run is not None:
                self.insert_runs([run], reset=reset)
            if due is None:
                self.insert_messages([message])
            else:
                self.insert_scheduled([message], [due])

    def insert_messages(self, rows: Sequence[Sequence[Any]]) -> None:
        head = f"INSERT INTO taskq_message ({MESSAGE_COLUMNS}, created_at, token, acked, revoked) VALUES "
        self._insert(head, _MESSAGE_ROW, [self._row(row, _MESSAGE_MOMENTS) for row in rows])

    def insert_scheduled(self, rows: Sequence[Sequence[Any]], due: Sequence[Moment]) -> None:
        head = f"INSERT INTO taskq_scheduledmessage ({MESSAGE_COLUMNS}, created_at, due_at) VALUES "
        rows = [[*self._row(r, _MESSAGE_MOMENTS), *self._moment(*d)] for r, d in zip(rows, due, strict=True)]
        self._insert(head, _SCHEDULED_ROW, rows)

    def insert_runs(self, rows: Sequence[Sequence[Any]], *, reset: bool) -> None:
        head = f"INSERT INTO taskq_taskrun ({RUN_COLUMNS}, created_at) VALUES "
        tail = " " + (_update(_RESET, when_final=True) if reset else "ON DUPLICATE KEY UPDATE task_id = task_id")
        self._insert(head, _RUN_ROW, [self._row(row, _RUN_MOMENTS) for row in rows], tail)

    def insert_events(self, rows: Sequence[tuple[str, str, float, str, str]]) -> None:
        head = "INSERT INTO taskq_taskevent (task_id, kind, at, worker, detail) VALUES "
        timed = [(task, kind, self.time_parameter(at), worker, detail) for task, kind, at, worker, detail in rows]
        self._insert(head, "(%s, %s, %s, %s, %s)", timed)

    def _insert(self, head: str, row: str, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
        with self.cursor() as cursor:
            for part in self._statements(cursor, rows):
                values = [value for values in part for value in values]
                cursor.execute(head + ", ".join([row] * len(part)) + tail, values)

    def _statements(self, cursor: Any, rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
        """Yield the rows of one statement after the other: the server closes the connection on one too large.

        Raises ``DataError`` for a row that is too large by itself.
        """
        if sum(len(value) for values in rows for value in values if type(value) is str) < _SURELY_FITS:
            yield rows
            return
        cursor.execute("SELECT @@max_allowed_packet")
        part: list[Sequence[Any]] = []
        limit, size = int(cursor.fetchone()[0]) - _MARGIN, 0
        for values in rows:
            more = sum(map(_size, values))
            if more > limit:
                raise DataError(1153, f"{more} bytes in one row are more than max_allowed_packet, {limit + _MARGIN}")
            if part and size + more > limit:
                yield part
                part, size = [], 0
            part.append(values)
            size += more
        yield part

    def claim(self, queue: str, limit: int, token: str, after: Mapping[int, int] | None = None) -> list[Claimed]:
        with self.atomic(), self.cursor() as cursor:
            cursor.execute(
                f"{self.skip_locked_prefix}SELECT {claim_columns()}, "
                f"TIMESTAMPDIFF(MICROSECOND, {_NOW}, expires_at) / 1e6, "
                "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_at) / 1e6 "
                "FROM taskq_message FORCE INDEX (taskq_message_to_claim) WHERE token = '' AND queue = %s "
                "ORDER BY priority DESC, id LIMIT %s FOR UPDATE SKIP LOCKED",
                [queue, limit],
            )
            claimed = self.as_messages(cursor.fetchall())
            if claimed:
                ids = [message.id for message in claimed]
                # By the index: a scan of the whole table would wait for rows that others have locked.
                cursor.execute(
                    f"UPDATE taskq_message FORCE INDEX (PRIMARY) SET token = %s WHERE id IN ({self.placeholders(ids)})",
                    [token, *ids],
                )
        return claimed

    def with_messages(self, queues: Sequence[str]) -> set[str]:
        with self.cursor() as cursor:
            # MariaDB does not turn a subquery among the columns into a join, which might read all messages.
            cursor.execute(
                "SELECT q.name, (SELECT 1 FROM taskq_message FORCE INDEX (taskq_message_to_claim) "
                "WHERE token = '' AND queue = q.name LIMIT 1) "
                "FROM JSON_TABLE(%s, '$[*]' COLUMNS (name varchar(255) CHARACTER SET utf8mb4 "
                "COLLATE utf8mb4_nopad_bin PATH '$')) AS q",
                [json.dumps(list(queues))],
            )
            return {name for name, found in cursor.fetchall() if found}

    def lock_due(self, limit: int, after: DuePlace | None = None) -> list[DuePlace]:
        with self.cursor() as cursor:
            cursor.execute(
                f"{self.skip_locked_prefix}SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', due_at) / 1e6, id "
                f"FROM taskq_scheduledmessage WHERE due_at <= {_NOW} "
                "ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED",
                [limit],
            )
            return [(float(due), number) for due, number in cursor.fetchall()]

    def next_due(self, after: DuePlace | None = None) -> float | None:
        with self.cursor() as cursor:
            cursor.execute(
                f"SELECT TIMESTAMPDIFF(MICROSECOND, {_NOW}, due_at) / 1e6 FROM taskq_scheduledmessage "
                "ORDER BY due_at LIMIT 1"
            )
            row = cursor.fetchone()
        return row and float(row[0])

    def update_runs(self, settlements: Sequence[Settlement]) -> None:
        """Upsert: MariaDB has no other statement that changes many rows to different values."""
        self.upsert_runs(settlements)

    def upsert_runs(self, settlements: Sequence[Settlement]) -> None:
        head = f"INSERT INTO taskq_taskrun ({_END_COLUMNS}, priority, created_at) VALUES "
        self._insert(
            head, _END_ROW, [self._end_values(s) for s in settlements], " " + _update(_ENDED, when_final=False)
        )

    def insert_groups(self, rows: Sequence[Sequence[Any]]) -> None:
        self._insert(f"INSERT INTO taskq_group ({GROUP_COLUMNS}, created_at) VALUES ", _GROUP_ROW, rows, _GROUP_RESET)

    def insert_nodes(self, rows: Sequence[Sequence[Any]], *, reset: bool) -> None:
        tail = " ON DUPLICATE KEY UPDATE " + (_NODE_RESET if reset else "task_id = task_id")
        self._insert(f"INSERT INTO taskq_node ({NODE_COLUMNS}, created_at) VALUES ", _NODE_ROW, rows, tail)

    def end_runs(self, settlements: Sequence[Settlement]) -> set[str]:
        """Insert missing rows, lock all, and read their states: an upsert does not tell what it changed."""
        self._make_missing([s for s in settlements if not s.tracked])
        with self.cursor() as cursor:
            cursor.execute(
                # The state is not in the condition: MariaDB would unlock the rows that do not meet it.
                f"SELECT task_id, state IN {FINAL} FROM taskq_taskrun "
                f"WHERE task_id IN ({self.placeholders(settlements)}) ORDER BY task_id FOR UPDATE",
                [s.task_id for s in settlements],
            )
            final = {task_id for task_id, is_final in cursor.fetchall() if is_final}
        ended = [s for s in settlements if s.task_id not in final]
        if ended:
            self.upsert_runs(ended)
        return {s.task_id for s in ended}

    def _make_missing(self, settlements: Sequence[Settlement]) -> None:
        rows = [[s.task_id, s.name, s.queue, s.arguments, s.root_id, s.parent_id, s.group_id] for s in settlements]
        if rows:
            self._insert(
                "INSERT INTO taskq_taskrun (task_id, name, queue, arguments, root_id, parent_id, group_id, state, "
                "priority, retries, worker, content_type, created_at) VALUES ",
                f"(%s, %s, %s, %s, %s, %s, %s, 'PENDING', 0, 0, '', 'application/json', {_NOW})",
                rows,
                " ON DUPLICATE KEY UPDATE task_id = task_id",
            )

    def _end_values(self, s: Settlement) -> tuple[Any, ...]:
        started, finished = self.time_parameter(s.started), self.time_parameter(s.finished)
        return (
            s.task_id, s.result, s.content_type, s.traceback, started, finished, s.runtime, s.retries, s.worker,
            s.children, s.name, s.queue, s.arguments, s.root_id, s.parent_id, s.group_id, s.state,
        )  # fmt: skip


engine_class = MariadbEngine
