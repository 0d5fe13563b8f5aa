"""The contract of an engine, and the code that all engines share.

An engine runs its statements on the calling thread's connection to one database alias, and holds no connection. The
caller (``taskq.store``) begins the transaction, except where a method says that it is one statement or one transaction
by itself. Each statement's text is made once; many rows are one statement, or ``executemany`` where that is quicker.

The engine of a new database defines the abstract methods, and whatever else differs: ``docs/how-to/change-the-code``.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, Error, InterfaceError, InternalError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL

from taskq import clock, states
from taskq.records import Claimed, DuePlace, Moment, Settlement

from .listeners import AdaptiveListener, Listener

#: The columns of a message, in the order in which ``store.enqueue.message_row`` gives them. A row has two values for
#: ``expires_at``, and for ``eta`` of a run: those of a ``records.Moment``.
MESSAGE_COLUMNS = (
    "queue, task_id, name, priority, headers, body, content_type, content_encoding, properties, "
    "exchange, routing_key, tracked, expires_at, deliveries, redelivered"
)
#: The columns of a new run, in the order in which ``store.enqueue.run_row`` gives them.
RUN_COLUMNS = (
    "task_id, name, queue, priority, arguments, root_id, parent_id, group_id, retries, expires_at, eta, "
    "state, content_type, worker"
)
#: The columns of a new group and of a new node, in the order in which ``store.workflow_rows`` gives them.
GROUP_COLUMNS = "group_id, size, remaining, failed, body, root_id, parent_id"
NODE_COLUMNS = "root_id, task_id, name, kind, group_id, position, waits_for, ignored, revoked, state"
#: The final states, as SQL for ``IN``.
FINAL = "('" + "', '".join(sorted(states.READY_STATES)) + "')"


class Engine(ABC):
    """Statements for one database; ``postgresql``, ``sqlite`` and ``mariadb`` fill them in."""

    #: Whether ``SELECT ... FOR UPDATE SKIP LOCKED`` works.
    skip_locked = True
    #: Whether deleted rows stay in the indexes until the oldest open transaction ends: a look from the start of a queue
    #: then reads all that was claimed since.
    keeps_dead_entries = False
    #: Whether ``take_waiting`` works.
    can_take_waiting = False
    #: The most rows of one statement.
    chunk = 500
    #: About the most characters of results and messages that one transaction settles.
    batch_bytes = 16_000_000
    #: Whether the database has a clock of its own, and not this machine's.
    own_clock = True

    def __init__(self, alias: str) -> None:
        self.alias = alias

    # -- connection

    @property
    def connection(self) -> BaseDatabaseWrapper:
        """The calling thread's connection."""
        return connections[self.alias]

    def cursor(self) -> CursorWrapper:
        """Return a new cursor on the calling thread's connection."""
        return connections[self.alias].cursor()

    def atomic(self) -> AbstractContextManager[object]:
        """Return a context that is one transaction, or a savepoint within the caller's."""
        return transaction.atomic(using=self.alias)

    def set_patience(self, seconds: float) -> None:
        """Set how long the calling thread's connection waits for a locked row; ``gave_up`` knows its error then."""
        return None  # where a transaction locks the whole database

    def gave_up(self, error: Exception) -> bool:
        """Tell whether ``error`` says that a row was locked by another transaction for too long."""
        return False

    def pipelined(self) -> AbstractContextManager[object]:
        """Return a context, for use in a transaction, in which statements that return no rows are sent without waiting.

        The error of such a statement may be raised when the context ends.
        """
        return nullcontext()

    def in_transaction(self) -> bool:
        """Tell whether the calling thread is in a transaction on this database, which its caller commits."""
        connection = connections[self.alias]
        return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)

    # Four questions about an error. ``is_transient``: repeat at once. ``gave_up``: go on without the locked row.
    # ``refuses``: a value is at fault. ``may_pass``: the database is at fault, repeat later.

    @abstractmethod
    def is_transient(self, error: Exception) -> bool:
        """Tell whether ``error`` is a deadlock or a lock time-out: the same transaction may succeed at once."""

    @abstractmethod
    def lacks_tables(self, error: Exception) -> bool:
        """Tell whether ``error`` says that a table or a column is missing."""

    def refuses(self, error: Exception) -> bool:
        """Tell whether ``error`` is about the values that were to be written: each attempt would end with it."""
        # A plain DatabaseError is SQLite's word for a file that can't be read.
        if isinstance(error, OperationalError | InterfaceError | InternalError) or type(error) is DatabaseError:
            return False
        # Drivers raise ValueError, TypeError or OverflowError for a value that they can't encode.
        return isinstance(error, DatabaseError | ValueError | TypeError | OverflowError)

    def tables_without_transactions(self) -> list[str]:
        """Return the names of taskq's tables that can't be rolled back."""
        return []

    def open_schemas(self) -> list[str]:
        """Return the schemas of the connection's search path in which every role may create functions."""
        return []

    def may_pass(self, error: Exception) -> bool:
        """Tell whether ``error`` is about the state of the database, which may change: repeat the transaction later."""
        return isinstance(error, Error | OSError) and not self.refuses(error)

    def steady(self) -> AbstractContextManager[object]:
        """Return ``atomic()``. If it begins a transaction, the planner uses indexes, whatever the statistics say."""
        return self.atomic()

    # -- clock

    @abstractmethod
    def now(self) -> float:
        """Return the database's time as a Unix time."""

    def now_expression(self) -> Any:
        """Return the database's time as an expression for querysets and new rows."""
        return RawSQL(self.now_sql, (), DateTimeField())

    def measure_clock(self) -> None:
        """Let ``taskq.clock`` follow this database's clock."""
        if self.own_clock:
            before = time.monotonic()
            # The database has looked at its clock between the question and the answer.
            unix = self.now()
            clock.use(unix - (before + time.monotonic()) / 2)

    def time_parameter(self, unix: float | None) -> Any:
        """Return a Unix time as the parameter for a column of time."""
        if unix is None:
            return None
        return datetime.fromtimestamp(unix, UTC)

    # -- sending

    @abstractmethod
    def send(
        self, message: Sequence[Any], run: Sequence[Any] | None, *, due: Moment | None, reset: bool, wake: bool
    ) -> None:
        """Insert one message and its run: one statement or one transaction. ``due`` is ``None`` for at once."""

    @abstractmethod
    def insert_messages(self, rows: Sequence[Sequence[Any]]) -> None:
        """Insert messages that may run now; rows as ``MESSAGE_COLUMNS``."""

    @abstractmethod
    def insert_scheduled(self, rows: Sequence[Sequence[Any]], due: Sequence[Moment]) -> None:
        """Insert messages that are due later."""

    @abstractmethod
    def insert_runs(self, rows: Sequence[Sequence[Any]], *, reset: bool) -> None:
        """Insert runs where there is none; with ``reset`` a run that is final starts anew."""

    def notify(self, channel: str, names: Collection[str]) -> None:
        """Wake those who wait for ``names``, at commit, if ``TASKQ_NOTIFY`` is on."""
        return None  # where the database can't notify

    # -- claiming

    @abstractmethod
    def claim(self, queue: str, limit: int, token: str, after: Mapping[int, int] | None = None) -> list[Claimed]:
        """Take up to ``limit`` waiting messages of one queue, the most urgent and oldest first, in one transaction.

        With ``after`` only messages whose ids are larger than that of their priority, if ``keeps_dead_entries``.
        """

    def take_waiting(self, message_id: int) -> list[Claimed]:
        """Delete a waiting message, if it is small, and return it, in one statement. See ``can_take_waiting``."""
        raise NotImplementedError

    def message_sizes(self, ids: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return the bytes of headers and properties, and of the body, of the messages ``ids``."""
        headers, properties, body = (self.byte_length.format(name) for name in ("headers", "properties", "body"))
        with self.cursor() as cursor:
            cursor.execute(
                f"SELECT id, {headers} + {properties}, {body} FROM taskq_message "
                f"WHERE id IN ({self.placeholders(ids)})",
                list(ids),
            )
            return {row[0]: (row[1], row[2]) for row in cursor.fetchall()}

    @abstractmethod
    def with_messages(self, queues: Sequence[str]) -> set[str]:
        """Return those of ``queues`` in which messages wait, by one look into the index for each queue."""

    def first_waiting(self, queue: str, limit: int, after: Mapping[int, int] | None = None) -> list[tuple[int, str]]:
        """Return the first waiting messages of ``queue``, as ids and names of tasks. ``after`` as in ``claim``."""
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT id, name FROM taskq_message WHERE token = '' AND queue = %s "
                "ORDER BY priority DESC, id LIMIT %s",
                [queue, limit],
            )
            return list(cursor.fetchall())

    @abstractmethod
    def insert_events(self, rows: Sequence[tuple[str, str, float, str, str]]) -> None:
        """Insert events of tasks: id of the task, kind, Unix time, worker, and detail of each."""

    def lock_free(self, token: str) -> list[tuple[int, str]]:
        """Lock the messages of ``token`` that are not acknowledged and not locked; return their ids and queues."""
        with self.cursor() as cursor:
            cursor.execute(
                f"{self.skip_locked_prefix}SELECT id, queue FROM taskq_message "
                f"WHERE token = %s AND acked = {self.false} ORDER BY id FOR UPDATE SKIP LOCKED",
                [token],
            )
            return list(cursor.fetchall())

    def newest_message(self) -> int | None:
        """Return the largest id that a message has had so far, if ``keeps_dead_entries``."""
        return None

    @abstractmethod
    def lock_due(self, limit: int, after: DuePlace | None = None) -> list[DuePlace]:
        """Lock messages that are due, and return their places, the earliest first.

        With ``after`` only messages behind that place, if ``keeps_dead_entries``.
        """

    def move_due(self, ids: Sequence[int]) -> None:
        """Move the messages ``ids`` from the schedule to their queues."""
        placeholders = self.placeholders(ids)
        with self.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO taskq_message ({MESSAGE_COLUMNS}, created_at, token, acked, revoked, promoted) "
                f"SELECT {MESSAGE_COLUMNS}, {self.now_sql}, '', {self.false}, '', {self.true} "
                "FROM taskq_scheduledmessage "
                f"WHERE id IN ({placeholders}) ORDER BY due_at, id",
                list(ids),
            )
            cursor.execute(f"DELETE FROM taskq_scheduledmessage WHERE id IN ({placeholders})", list(ids))

    @abstractmethod
    def next_due(self, after: DuePlace | None = None) -> float | None:
        """Return in how many seconds the next scheduled message is due, or ``None``. ``after`` as in ``lock_due``."""

    # -- settling

    def delete_held(self, token: str, ids: Sequence[int]) -> set[int]:
        """Delete the messages ``ids`` that ``token`` still holds; return which those were."""
        if not ids:
            return set()
        with self.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM taskq_message WHERE id IN ({self.placeholders(ids)}) "
                f"AND {self.token_check} = %s RETURNING id",
                [*ids, token],
            )
            return {row[0] for row in cursor.fetchall()}

    @abstractmethod
    def update_runs(self, settlements: Sequence[Settlement]) -> None:
        """Write how tasks ended into rows that were made when they were sent; a final row stays as it is."""

    @abstractmethod
    def upsert_runs(self, settlements: Sequence[Settlement]) -> None:
        """Write how tasks ended, as ``update_runs``, and insert the rows of tasks that have none yet."""

    # -- workflows

    @abstractmethod
    def insert_groups(self, rows: Sequence[Sequence[Any]]) -> None:
        """Insert groups; a group that exists is replaced if it is done (none remains). As ``GROUP_COLUMNS``."""

    @abstractmethod
    def insert_nodes(self, rows: Sequence[Sequence[Any]], *, reset: bool) -> None:
        """Insert nodes; a node that exists stays, or with ``reset`` is replaced. As ``NODE_COLUMNS``."""

    @abstractmethod
    def end_runs(self, settlements: Sequence[Settlement]) -> set[str]:
        """Do ``upsert_runs``, and return the ids of the tasks that were not final before."""

    def move_result(self, group_id: str, task_id: str) -> bool:
        """Copy the body of a group into the result of a run; tell whether both rows exist."""
        with self.cursor() as cursor:
            cursor.execute(self.move_result_sql, [group_id, task_id])
            return bool(cursor.rowcount)

    def count_groups(self, rows: Sequence[tuple[int, bool, str]]) -> None:
        """Write the ``remaining`` and ``failed`` of groups, whose ids come last. The caller has locked the rows."""
        sql = "UPDATE taskq_group SET remaining = %s, failed = %s WHERE group_id = %s"
        with self.cursor() as cursor:
            if len(rows) == 1:
                cursor.execute(sql, rows[0])
            else:
                cursor.executemany(sql, rows)

    def members(self, group_id: str, place: tuple[int, int], most: int) -> list[tuple[Any, ...]]:
        """Return id, state, result, content type, "ignored" and place of a group's next members behind ``place``."""
        with self.cursor() as cursor:
            cursor.execute(
                f"SELECT n.task_id, r.state, {self.whole_text.format('r.result')}, r.content_type, n.ignored, "
                "n.position, n.id FROM taskq_node n LEFT JOIN taskq_taskrun r ON r.task_id = n.task_id "
                "WHERE n.group_id = %s AND n.position >= %s AND (n.position > %s OR n.id > %s) "
                "ORDER BY n.position, n.id LIMIT %s",
                [group_id, place[0], *place, most],
            )
            return list(cursor.fetchall())

    def sizes_of_values(self, group_ids: Collection[str]) -> dict[str, int]:
        """Return for each group the bytes of the values of its members; a group without values is left out."""
        with self.cursor() as cursor:
            cursor.execute(
                f"SELECT n.group_id, SUM({self.byte_length.format('r.result')}) FROM taskq_node n "
                f"JOIN taskq_taskrun r ON r.task_id = n.task_id WHERE n.group_id IN ({self.placeholders(group_ids)}) "
                "GROUP BY n.group_id",
                list(group_ids),
            )
            return {group_id: int(size or 0) for group_id, size in cursor.fetchall()}

    # -- retrying

    def keep_attempts(self, ids: Sequence[int]) -> None:
        """Insert the outcomes of the runs ``ids`` as attempts."""
        columns = "task_id, state, retries, result, traceback, worker, started_at, finished_at"
        with self.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO taskq_attempt ({columns}) SELECT {columns} FROM taskq_taskrun "
                f"WHERE id IN ({self.placeholders(ids)}) ORDER BY task_id",
                list(ids),
            )

    # -- waking

    def message_listener(self) -> Listener:
        """Return a listener for new messages: it tells the marks of queues."""
        return AdaptiveListener()

    def store_thread_listener(self) -> Listener:
        """Return a listener for new messages, for the store thread of a worker. It may use that thread's connection."""
        return self.message_listener()

    def result_listener(self) -> Listener:
        """Return a listener for tasks that have ended: it tells the marks of their ids."""
        return AdaptiveListener(0.002, 0.05)

    def make_steady(self) -> None:
        """Prepare the calling thread's connection for a worker's statements. No proxy may be between."""
        return None

    # -- words of the dialect

    false, true = "false", "true"
    #: Copies the body of a group into a run: PostgreSQL copies a compressed text as it is, SQLite a stand-in.
    move_result_sql = (
        "UPDATE taskq_taskrun SET result = g.body FROM taskq_group g "
        "WHERE g.group_id = %s AND taskq_taskrun.task_id = %s"
    )
    #: The text of a column, for which a stand-in may be in the row, and its length in bytes.
    whole_text, byte_length = "{}", "octet_length({})"
    #: The token as an expression without an index, for rows that are found by their ids: see ``fields.Unindexed``.
    token_check = "(token || '')"
    #: The words before a SELECT with SKIP LOCKED.
    skip_locked_prefix = ""
    #: The database's time, as a value for a column of time; and a column of time as a Unix time.
    now_sql, unix_time = "clock_timestamp()", "extract(epoch FROM {})::float8"

    @staticmethod
    def as_messages(rows: Iterable[Sequence[Any]], seconds_left: Callable[[Any], float] = float) -> list[Claimed]:
        """Return the rows of a claim as messages. ``seconds_left`` converts the row's value of ``expires_by``."""
        now = time.monotonic()
        messages = [Claimed(*row) for row in rows]
        for message in messages:
            if message.expires_by is not None:
                message.expires_by = now + seconds_left(message.expires_by)
        return messages

    @staticmethod
    def placeholders(values: Iterable[Any]) -> str:
        """Return as many placeholders as there are values."""
        return ", ".join(["%s"] * len(list(values)))
