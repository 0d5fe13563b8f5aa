"""Claims on PostgreSQL, and the settings that keep the planner to indexes, whatever its statistics say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from taskq.records import Claimed

from .claim_columns import claim_columns, fits
from .lock_timeout import LockTimeoutEngine

# A claim does not wait for the disk. If the server crashes and forgets it, the message is claimed again, and its first
# holder, whose token is gone, settles nothing.
_NO_WAIT = "pg_catalog.set_config('synchronous_commit', 'off', true)"
# Rows are found by their place (``ctid``): there is no index and no join to choose. The locks keep a row at its place
# until the statement ends. The array is read once.
_CLAIM = (
    f"UPDATE taskq_message m SET token = %s WHERE {{}}m.ctid = ANY(ARRAY({{}})) RETURNING {claim_columns()}, "
    "extract(epoch FROM expires_at - clock_timestamp())::float8, extract(epoch FROM created_at)::float8"
)
# ``token || ''`` can't use the index of claims, so the plan is the primary key.
_TAKE = (
    f"DELETE FROM taskq_message WHERE id = %s AND (token || '') = '' AND {fits()} RETURNING {claim_columns()}, "
    "extract(epoch FROM expires_at - clock_timestamp())::float8, extract(epoch FROM created_at)::float8"
)
# Only the index of claims has ``id + 0``: see ``storage``.
_FROM_THE_START = (
    "SELECT ctid FROM taskq_message WHERE token = '' AND queue = %s "
    "ORDER BY priority DESC, id + 0 LIMIT %s FOR UPDATE SKIP LOCKED"
)
# Behind the ids ``f.id``, one priority after the other.
_AFTER = (
    "SELECT w.ctid FROM unnest(%s::smallint[], %s::bigint[]) AS f(priority, id), LATERAL ("
    "SELECT ctid FROM taskq_message WHERE token = '' AND queue = %s AND priority = f.priority AND id + 0 > f.id "
    "ORDER BY id + 0 LIMIT %s FOR UPDATE SKIP LOCKED) w LIMIT %s"
)
# In a caller's transaction: "not to wait for the disk" would hold for all of it. Alone: it is part of the statement.
_CLAIM_WITHIN = {after: _CLAIM.format("", _AFTER if after else _FROM_THE_START) for after in (False, True)}
_CLAIM_ALONE = {
    after: _CLAIM.format(f"(SELECT {_NO_WAIT}) = 'off' AND ", _AFTER if after else _FROM_THE_START)
    for after in (False, True)
}
# With LATERAL and LIMIT the only plan is one look into the index for each queue.
_WITH_MESSAGES = (
    "SELECT q.name FROM pg_catalog.unnest(%s::text[]) AS q(name), LATERAL (SELECT 1 FROM taskq_message "
    "WHERE token = '' AND queue = q.name COLLATE \"C\" ORDER BY priority DESC, id + 0 LIMIT 1) m"
)
_HEAD = "SELECT id, name FROM taskq_message WHERE token = '' AND queue = %s ORDER BY priority DESC, id + 0 LIMIT %s"
_HEAD_AFTER = (
    "SELECT w.id, w.name FROM unnest(%s::smallint[], %s::bigint[]) AS f(priority, id), LATERAL ("
    "SELECT id, name FROM taskq_message WHERE token = '' AND queue = %s AND priority = f.priority AND id + 0 > f.id "
    "ORDER BY id + 0 LIMIT %s) w LIMIT %s"
)
_PRIORITIES = range(10)
#: The settings that keep the planner to indexes. Old statistics, of a time when the table was empty or full, would have
#: it sort all messages that wait; the statements of taskq have an index for any size. Sorting stays allowed: else a few
#: rows in the order of their ids would be looked for among all. The small table of workers is read as a whole all the
#: same, at a prohibitive cost. ``jit`` is off because of that cost: compiling a statement takes a tenth of a second.
LOOK_UPS = {"enable_seqscan": "off", "enable_bitmapscan": "off", "random_page_cost": "0.1", "jit": "off"}
_STEADY = "; ".join(f"SET {name} = {value}" for name, value in LOOK_UPS.items())
#: Sets ``LOOK_UPS`` until the end of the transaction.
STEADY_HERE = "SELECT " + ", ".join(f"pg_catalog.set_config('{n}', '{value}', true)" for n, value in LOOK_UPS.items())
_STEADY_CLAIM = f"{STEADY_HERE}, {_NO_WAIT}"


class ClaimingEngine(LockTimeoutEngine):
    """The part of PostgreSQL's engine that claims."""

    keeps_dead_entries = True
    can_take_waiting = True

    def claim(self, queue: str, limit: int, token: str, after: Mapping[int, int] | None = None) -> list[Claimed]:
        """See ``base.Engine``."""
        params: list[Any] = [token, queue, limit]
        if after is not None:
            params = [token, *_behind(after), queue, limit, limit]
        with self._claiming() as (cursor, statements):
            cursor.execute(statements[after is not None], params)
            claimed = self.as_messages(cursor.fetchall())
        claimed.sort(key=lambda message: (-message.priority, message.id))
        return claimed

    def take_waiting(self, message_id: int) -> list[Claimed]:
        """See ``base.Engine``."""
        with self.cursor() as cursor:
            cursor.execute(_TAKE, [message_id])
            return self.as_messages(cursor.fetchall())

    def with_messages(self, queues: Sequence[str]) -> set[str]:
        """See ``base.Engine``."""
        with self._claiming() as (cursor, _):
            cursor.execute(_WITH_MESSAGES, [list(queues)])
            return {row[0] for row in cursor.fetchall()}

    def first_waiting(self, queue: str, limit: int, after: Mapping[int, int] | None = None) -> list[tuple[int, str]]:
        """See ``base.Engine``; for use in ``steady``."""
        with self.cursor() as cursor:
            if after is None:
                cursor.execute(_HEAD, [queue, limit])
            else:
                cursor.execute(_HEAD_AFTER, [*_behind(after), queue, limit, limit])
            return list(cursor.fetchall())

    @contextmanager
    def steady(self) -> Iterator[None]:
        """See ``base.Engine``."""
        # In the caller's transaction these settings would last until its end.
        own = not self.in_transaction() and self.connection.connection not in self._direct
        with self.atomic():
            if own:
                with self.cursor() as cursor:
                    cursor.execute(_STEADY_CLAIM)
            yield

    @contextmanager
    def _claiming(self) -> Iterator[tuple[Any, dict[bool, str]]]:
        """Yield a cursor whose planner is kept to indexes, and the statements of a claim: ``after`` or not."""
        connection = self.connection.connection
        if self.in_transaction():
            # In the caller's transaction the settings would last until its end.
            with self.cursor() as cursor:
                yield cursor, _CLAIM_WITHIN
        elif connection is None or connection not in self._direct:
            with self.atomic(), self.cursor() as cursor:
                cursor.execute(_STEADY_CLAIM)
                yield cursor, _CLAIM_WITHIN
        else:
            import psycopg

            with self.connection.wrap_database_errors, _preparing(connection), psycopg.Cursor(connection) as cursor:
                yield cursor, _CLAIM_ALONE

    def make_steady(self) -> None:
        """Let claims be prepared statements on this thread's connection, and keep its planner to indexes."""
        connection = self.connection.connection
        if connection is None or self.in_transaction():
            return
        with self.cursor() as cursor:
            cursor.execute(_STEADY)
        self._direct.add(connection)


@contextmanager
def _preparing(connection: Any) -> Iterator[None]:
    """Let psycopg prepare the statements of a connection within this block.

    Not always: psycopg keeps the last 100 statements that it might prepare. Those of Django's cursors have their
    values inside, which may be megabytes.
    """
    before, connection.prepare_threshold = connection.prepare_threshold, 0
    try:
        yield
    finally:
        connection.prepare_threshold = before


def _behind(after: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """Return all priorities, the most urgent first, and for each the id behind which messages are claimed."""
    priorities = sorted({*_PRIORITIES, *after}, reverse=True)
    return priorities, [after.get(priority, 0) for priority in priorities]
