"""PostgreSQL: rows go in as one JSON document, a send is one statement, ``LISTEN`` wakes.

Needs psycopg 3. Every statement passes through Django's cursor, so that its
wrappers (query logging, instrumentation) see it.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from taskq.conf import settings
from taskq.log_escapes import get_logger
from taskq.records import DuePlace, Moment, Settlement

from . import functions, marks
from .base import FINAL, GROUP_COLUMNS, MESSAGE_COLUMNS, NODE_COLUMNS, RUN_COLUMNS
from .listeners import Listener
from .marks import MESSAGE_CHANNEL, RESULT_CHANNEL, SCHEDULED_NAME
from .postgresql_claims import ClaimingEngine
from .postgresql_listener import PostgresqlListener

logger = get_logger("taskq.engines")
# The name that a listener notifies of at its start, and the seconds for which it waits to hear it.
_TEST, _TEST_SECONDS = "\x1ftest", 1.0

_MESSAGE_TYPES = (
    "queue text, task_id text, name text, priority int, headers text, body text, content_type text, "
    "content_encoding text, properties text, exchange text, routing_key text, tracked bool, expires_at float8, "
    "expires_in float8, deliveries int, redelivered bool"
)
_RUN_TYPES = (
    "task_id text, name text, queue text, priority int, arguments text, root_id text, parent_id text, "
    "group_id text, retries int, expires_at float8, expires_in float8, eta float8, delay float8, state text, "
    "content_type text, worker text"
)
_END_TYPES = (
    "task_id text, state text, result text, content_type text, traceback text, started float8, finished float8, "
    "runtime float8, retries int, worker text, children text"
)
_EVENT_TYPES = "task_id text, kind text, at float8, worker text, detail text"
_ORIGIN_TYPES = "name text, queue text, arguments text, root_id text, parent_id text, group_id text"
_GROUP_TYPES = "group_id text, size int, remaining int, failed bool, body text, root_id text, parent_id text"
_NODE_TYPES = (
    "root_id text, task_id text, name text, kind text, group_id text, position int, waits_for text, ignored bool, "
    "revoked bool, state text"
)


def _names(types: str) -> list[str]:
    return [column.split()[0] for column in types.split(", ")]


# The second value of each moment: see ``records.Moment``.
_MOMENTS = {"expires_at": "expires_in", "eta": "delay", "due_at": "due_in"}


def _moment(at: str, seconds: str) -> str:
    """Return the time of a ``records.Moment`` as an expression."""
    return (
        f"COALESCE(pg_catalog.to_timestamp({at}::float8), clock_timestamp() + {seconds}::float8 * interval '1 second')"
    )


def _expression(name: str, times: Sequence[str]) -> str:
    if name in _MOMENTS:
        return _moment(f"x.{name}", f"x.{_MOMENTS[name]}")
    return f"pg_catalog.to_timestamp(x.{name})" if name in times else f"x.{name}"


def _select(types: str, times: Sequence[str] = ()) -> str:
    """Return the columns of a document as expressions: moments, and the Unix times ``times``, become times."""
    return ", ".join(_expression(name, times) for name in _names(types) if name not in _MOMENTS.values())


_RESET = (
    "state = EXCLUDED.state, name = EXCLUDED.name, queue = EXCLUDED.queue, priority = EXCLUDED.priority, "
    "arguments = EXCLUDED.arguments, root_id = EXCLUDED.root_id, parent_id = EXCLUDED.parent_id, "
    "group_id = EXCLUDED.group_id, retries = EXCLUDED.retries, expires_at = EXCLUDED.expires_at, "
    "eta = EXCLUDED.eta, created_at = EXCLUDED.created_at, result = NULL, traceback = NULL, children = NULL, "
    "content_type = EXCLUDED.content_type, worker = '', started_at = NULL, finished_at = NULL, runtime = NULL"
)
_ON_CONFLICT = {
    False: "ON CONFLICT (task_id) DO NOTHING",
    True: f"ON CONFLICT (task_id) DO UPDATE SET {_RESET} WHERE taskq_taskrun.state IN {FINAL}",
}
_END_SET = (
    "state = x.state, result = x.result, content_type = x.content_type, traceback = x.traceback, "
    "started_at = COALESCE(pg_catalog.to_timestamp(x.started), r.started_at), "
    "finished_at = pg_catalog.to_timestamp(x.finished), "
    "runtime = x.runtime, retries = x.retries, worker = x.worker, children = x.children"
)

_INSERT_MESSAGES = (
    f"INSERT INTO taskq_message ({MESSAGE_COLUMNS}, created_at, token, acked, revoked) "
    f"SELECT {_select(_MESSAGE_TYPES)}, clock_timestamp(), '', false, '' "
    f"FROM json_to_recordset(%s::json) AS x({_MESSAGE_TYPES})"
)
_INSERT_SCHEDULED = (
    f"INSERT INTO taskq_scheduledmessage ({MESSAGE_COLUMNS}, created_at, due_at) "
    f"SELECT {_select(_MESSAGE_TYPES)}, clock_timestamp(), {_moment('x.due_at', 'x.due_in')} "
    f"FROM json_to_recordset(%s::json) AS x({_MESSAGE_TYPES}, due_at float8, due_in float8)"
)
_INSERT_RUNS = (
    f"INSERT INTO taskq_taskrun ({RUN_COLUMNS}, created_at) "
    f"SELECT {_select(_RUN_TYPES)}, clock_timestamp() "
    f"FROM json_to_recordset(%s::json) AS x({_RUN_TYPES}) "
)
_INSERT_EVENTS = (
    "INSERT INTO taskq_taskevent (task_id, kind, at, worker, detail) SELECT task_id, kind, "
    f"pg_catalog.to_timestamp(at), worker, detail FROM json_to_recordset(%s::json) AS x({_EVENT_TYPES})"
)
# ANY(ARRAY(...)) makes the planner find the runs by their index, whatever its statistics say of the join.
_UPDATE_RUNS = (
    f"WITH x AS MATERIALIZED (SELECT * FROM json_to_recordset(%s::json) AS x({_END_TYPES})) "
    f"UPDATE taskq_taskrun r SET {_END_SET} FROM x "
    'WHERE r.task_id = ANY(ARRAY(SELECT x.task_id COLLATE "C" FROM x)) AND r.task_id = x.task_id COLLATE "C" '
    f"AND r.state NOT IN {FINAL}"
)
_UPSERT_RUNS = (
    "INSERT INTO taskq_taskrun AS r (task_id, state, result, content_type, traceback, started_at, finished_at, "
    "runtime, retries, worker, children, name, queue, arguments, root_id, parent_id, group_id, priority, created_at) "
    f"SELECT {_select(_END_TYPES, ['started', 'finished'])}, {_select(_ORIGIN_TYPES)}, 0, clock_timestamp() "
    f"FROM json_to_recordset(%s::json) AS x({_END_TYPES}, {_ORIGIN_TYPES}) "
    "ON CONFLICT (task_id) DO UPDATE SET state = EXCLUDED.state, result = EXCLUDED.result, "
    "content_type = EXCLUDED.content_type, traceback = EXCLUDED.traceback, "
    "started_at = COALESCE(EXCLUDED.started_at, r.started_at), finished_at = EXCLUDED.finished_at, "
    "runtime = EXCLUDED.runtime, retries = EXCLUDED.retries, worker = EXCLUDED.worker, "
    f"children = EXCLUDED.children WHERE r.state NOT IN {FINAL}"
)
_END_RUNS = f"{_UPSERT_RUNS} RETURNING r.task_id"
_NEW_GROUP = f"INSERT INTO taskq_group AS g ({GROUP_COLUMNS}, created_at)"
_OLD_GROUP = (
    " ON CONFLICT (group_id) DO UPDATE SET "
    + ", ".join(f"{c} = EXCLUDED.{c}" for c in _names(_GROUP_TYPES)[1:])
    + " WHERE g.remaining <= 0"
)
_INSERT_GROUPS = (
    f"{_NEW_GROUP} SELECT {_select(_GROUP_TYPES)}, clock_timestamp() "
    f"FROM json_to_recordset(%s::json) AS x({_GROUP_TYPES}){_OLD_GROUP}"
)
_INSERT_NODES = (
    f"INSERT INTO taskq_node ({NODE_COLUMNS}, created_at) SELECT {_select(_NODE_TYPES)}, clock_timestamp() "
    f"FROM json_to_recordset(%s::json) AS x({_NODE_TYPES}) ON CONFLICT (task_id) DO "
)
_NODE_RESET = "UPDATE SET " + ", ".join(f"{c} = EXCLUDED.{c}" for c in _names(_NODE_TYPES) if c != "task_id")


def _values(types: str) -> str:
    names = [name for name in _names(types) if name not in _MOMENTS.values()]
    return ", ".join(_moment("%s", "%s") if name in _MOMENTS else "%s" for name in names)


_INSERT_GROUP = f"{_NEW_GROUP} VALUES ({_values(_GROUP_TYPES)}, clock_timestamp()){_OLD_GROUP}"
_WAKE = f" RETURNING pg_catalog.pg_notify('{MESSAGE_CHANNEL}'::text, %s::text)"
_SEND_RUN = f"INSERT INTO taskq_taskrun ({RUN_COLUMNS}, created_at) VALUES ({_values(_RUN_TYPES)}, clock_timestamp()) "
_SEND_MESSAGE = (
    f"INSERT INTO taskq_message ({MESSAGE_COLUMNS}, created_at, token, acked, revoked) "
    f"VALUES ({_values(_MESSAGE_TYPES)}, clock_timestamp(), '', false, '')"
)
_SEND_SCHEDULED = (
    f"INSERT INTO taskq_scheduledmessage ({MESSAGE_COLUMNS}, created_at, due_at) "
    f"VALUES ({_values(_MESSAGE_TYPES)}, clock_timestamp(), {_moment('%s', '%s')})"
)


def _send_statement(run: bool, reset: bool, scheduled: bool, wake: bool) -> str:
    first = f"WITH run AS ({_SEND_RUN}{_ON_CONFLICT[reset]}) "
    return (first if run else "") + (_SEND_SCHEDULED if scheduled else _SEND_MESSAGE) + (_WAKE if wake else "")


# The statements of ``send``, by its four conditions: with a run, reset, scheduled, waking.
_SENDS = {shape: _send_statement(*shape) for shape in itertools.product((False, True), repeat=4)}
# A float keeps the microseconds of PostgreSQL's times.
_BEHIND = {False: "true", True: "(due_at, id + 0) > (pg_catalog.to_timestamp(%s::float8), %s::bigint)"}
_OPEN_SCHEMAS = (
    "SELECT n.nspname::text FROM pg_catalog.pg_namespace n "
    "WHERE n.nspname = ANY(pg_catalog.current_schemas(false)) "
    "AND pg_catalog.has_schema_privilege('public'::name, n.oid, 'CREATE'::text) ORDER BY 1"
)


class PostgresqlEngine(ClaimingEngine):
    """See ``base.Engine``."""

    @contextmanager
    def pipelined(self) -> Iterator[None]:
        wrapper = self.connection
        wrapper.ensure_connection()
        with wrapper.wrap_database_errors, wrapper.connection.pipeline():
            yield

    def is_transient(self, error: Exception) -> bool:
        """Deadlock, serialization failure, lock time-out: SQLSTATE 40001, 40P01, 55P03."""
        return getattr(error.__cause__, "sqlstate", None) in {"40001", "40P01", "55P03"}

    def lacks_tables(self, error: Exception) -> bool:
        return getattr(error.__cause__, "sqlstate", None) in {"42P01", "42703"}

    def refuses(self, error: Exception) -> bool:
        """By class of SQLSTATE: cardinality (21), data (22), constraints (23), limits of the program (54)."""
        code = getattr(error.__cause__, "sqlstate", None)
        return super().refuses(error) if code is None else code[:2] in {"21", "22", "23", "54"}

    def open_schemas(self) -> list[str]:
        with self.cursor() as cursor:
            cursor.execute(_OPEN_SCHEMAS)
            return [row[0] for row in cursor.fetchall()]

    def now(self) -> float:
        with self.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            return float(cursor.fetchone()[0])

    def send(
        self, message: Sequence[Any], run: Sequence[Any] | None, *, due: Moment | None, reset: bool, wake: bool
    ) -> None:
        """One statement: run, message and notification together."""
        wake_mark = None
        if wake:
            wake_mark = marks.mark(SCHEDULED_NAME if due is not None else message[_QUEUE])
        if run is not None and due is None and not reset and self._send_by_function(message, run, wake_mark):
            return
        with self.cursor() as cursor:
            params = [*(run or ()), *message, *(due or ()), *([wake_mark] if wake else ())]
            cursor.execute(_SENDS[run is not None, reset, due is not None, wake], params)

    def _send_by_function(self, message: Sequence[Any], run: Sequence[Any], wake_mark: str | None) -> bool:
        """Send a usual message by one call of ``functions.SEND``; return false for others, or without the function."""
        queue, task_id, name, priority, headers, body, kind, encoding, properties, exchange, key, _, *expiry, _, _ = (
            message
        )
        arguments, root_id, parent_id, group_id, retries = run[4:9]
        # The function sends JSON in UTF-8 to a queue itself, without an expiry, for a task without a group and retries.
        if (kind, encoding, exchange, key, expiry, group_id, retries) != (*_USUAL, queue, _NO_EXPIRY, "", 0):
            return False
        params = [task_id, name, queue, priority, headers, body, properties, arguments, root_id, parent_id, wake_mark]
        for _ in range(2):
            if not (call := self._call_send):
                break
            with self.cursor() as cursor:
                cursor.execute(call, params)
                if cursor.rowcount:
                    return True
            # The search path of the connection has changed, and leads to other tables: find the function again.
            self.__dict__.pop("_call_send", None)
        return False

    @cached_property
    def _call_send(self) -> str:
        """The statement that calls ``functions.SEND``; empty without it, as where tests make the tables themselves."""
        with self.cursor() as cursor:
            cursor.execute(functions.FIND_SEND)
            found = cursor.fetchone()
        return functions.call_send(*found) if found else ""

    def insert_messages(self, rows: Sequence[Sequence[Any]]) -> None:
        self._insert(_INSERT_MESSAGES, _MESSAGE_NAMES, rows, _SEND_MESSAGE)

    def insert_scheduled(self, rows: Sequence[Sequence[Any]], due: Sequence[Moment]) -> None:
        self._insert(_INSERT_SCHEDULED, _SCHEDULED_NAMES, [(*r, *d) for r, d in zip(rows, due, strict=True)])

    def insert_runs(self, rows: Sequence[Sequence[Any]], *, reset: bool) -> None:
        self._insert(_INSERT_RUNS + _ON_CONFLICT[reset], _RUN_NAMES, rows, _SEND_RUN + _ON_CONFLICT[reset])

    def insert_events(self, rows: Sequence[tuple[str, str, float, str, str]]) -> None:
        self._insert(_INSERT_EVENTS, _EVENT_NAMES, rows)

    def _insert(self, sql: str, names: Sequence[str], rows: Sequence[Sequence[Any]], single: str = "") -> None:
        """Execute ``sql`` with a JSON document of the rows, or ``single`` with one row's values.

        A large text in a document takes the server more than twice the time, and this process another copy.
        """
        alone = bool(single) and len(rows) == 1
        params = rows[0] if alone else [json.dumps([dict(zip(names, row, strict=True)) for row in rows])]
        with self.cursor() as cursor:
            cursor.execute(single if alone else sql, params)

    def notify(self, channel: str, names: Collection[str]) -> None:
        if not settings.NOTIFY:
            return
        with self.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.pg_notify(%s::text, %s::text)", [channel, marks.payload(names)])

    def newest_message(self) -> int | None:
        """Return the last value of the sequence: a look for the largest id may step over many dead rows."""
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT pg_catalog.pg_sequence_last_value("
                "pg_catalog.pg_get_serial_sequence('taskq_message'::text, 'id'::text)::regclass)"
            )
            (newest,) = cursor.fetchone()
        return None if newest is None else int(newest)

    def lock_due(self, limit: int, after: DuePlace | None = None) -> list[DuePlace]:
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM due_at)::float8, id FROM taskq_scheduledmessage "
                f"WHERE due_at <= clock_timestamp() AND {_BEHIND[after is not None]} "
                "ORDER BY due_at, id + 0 LIMIT %s FOR UPDATE SKIP LOCKED",
                [*(after or ()), limit],
            )
            return list(cursor.fetchall())

    def next_due(self, after: DuePlace | None = None) -> float | None:
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM due_at - clock_timestamp())::float8 FROM taskq_scheduledmessage "
                f"WHERE {_BEHIND[after is not None]} ORDER BY due_at, id + 0 LIMIT 1",
                [*(after or ())],
            )
            row = cursor.fetchone()
            return row and float(row[0])

    def delete_held(self, token: str, ids: Sequence[int]) -> set[int]:
        with self.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM taskq_message WHERE id = ANY(%s) AND {self.token_check} = %s RETURNING id",
                [list(ids), token],
            )
            return {row[0] for row in cursor.fetchall()}

    def update_runs(self, settlements: Sequence[Settlement]) -> None:
        self._insert(_UPDATE_RUNS, _END_NAMES, [_end_values(s) for s in settlements])

    def upsert_runs(self, settlements: Sequence[Settlement]) -> None:
        self._insert(
            _UPSERT_RUNS, _END_NAMES + _ORIGIN_NAMES, [(*_end_values(s), *_origin_values(s)) for s in settlements]
        )

    def insert_groups(self, rows: Sequence[Sequence[Any]]) -> None:
        self._insert(_INSERT_GROUPS, _GROUP_NAMES, rows, _INSERT_GROUP)

    def insert_nodes(self, rows: Sequence[Sequence[Any]], *, reset: bool) -> None:
        self._insert(_INSERT_NODES + (_NODE_RESET if reset else "NOTHING"), _NODE_NAMES, rows)

    def end_runs(self, settlements: Sequence[Settlement]) -> set[str]:
        names = _END_NAMES + _ORIGIN_NAMES
        rows = [dict(zip(names, (*_end_values(s), *_origin_values(s)), strict=True)) for s in settlements]
        with self.cursor() as cursor:
            cursor.execute(_END_RUNS, [json.dumps(rows)])
            return {row[0] for row in cursor.fetchall()}

    def message_listener(self) -> Listener:
        if not settings.NOTIFY:
            return super().message_listener()
        listener = PostgresqlListener(self.alias, MESSAGE_CHANNEL)
        self._test(listener)
        return listener

    def _test(self, listener: PostgresqlListener) -> None:
        """Warn if a notification does not arrive, as behind a proxy that pools transactions."""
        self.notify(MESSAGE_CHANNEL, [_TEST])
        deadline = time.monotonic() + _TEST_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            found = listener.wait(left)
            if found is None or marks.mark(_TEST) in found:
                listener.direct = True
                return
        logger.warning(
            "LISTEN on database '%s' hears no NOTIFY: is there a proxy that pools transactions? Tasks are found by "
            "polling only, every TASKQ_POLL_INTERVAL; TASKQ_NOTIFY=False polls more often.",
            self.alias,
        )

    def result_listener(self) -> Listener:
        return PostgresqlListener(self.alias, RESULT_CHANNEL) if settings.NOTIFY else super().result_listener()


_MESSAGE_NAMES = _names(_MESSAGE_TYPES)
_QUEUE = _MESSAGE_NAMES.index("queue")
#: The content type, the encoding and the exchange of a message that the function can send, and its expiry.
_USUAL, _NO_EXPIRY = ("application/json", "utf-8", ""), [None, None]
_SCHEDULED_NAMES = [*_MESSAGE_NAMES, "due_at", "due_in"]
_RUN_NAMES = _names(_RUN_TYPES)
_END_NAMES = _names(_END_TYPES)
_ORIGIN_NAMES = _names(_ORIGIN_TYPES)
_EVENT_NAMES = _names(_EVENT_TYPES)
_GROUP_NAMES = _names(_GROUP_TYPES)
_NODE_NAMES = _names(_NODE_TYPES)


def _end_values(s: Settlement) -> tuple[Any, ...]:
    return (
        s.task_id, s.state, s.result, s.content_type, s.traceback, s.started, s.finished, s.runtime, s.retries,
        s.worker, s.children,
    )  # fmt: skip


def _origin_values(s: Settlement) -> tuple[Any, ...]:
    return (s.name, s.queue, s.arguments, s.root_id, s.parent_id, s.group_id)


engine_class = PostgresqlEngine
