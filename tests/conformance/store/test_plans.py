"""What statements read does not depend on the planner's statistics, on the backlog, or on what was there before.

PostgreSQL's plans are read from EXPLAIN (ANALYZE, BUFFERS), with statistics from when the tables were
empty, from when they were full of other rows, and of now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from django.db import connections

from taskq.engines import for_alias
from taskq.models import Message
from taskq.records import Claimed, Progress
from taskq.store import consuming, progress, workers
from taskq.store.claim import acknowledge, claim, count_start, newest
from taskq.store.enqueue import enqueue
from taskq.store.parking import park_waiting, parkings
from taskq.store.promote import next_due, promote
from taskq.store.recover import recover_orphans, requeue_held
from taskq.store.requeue import requeue
from taskq.store.revoke import revoke
from taskq.store.settle import settle
from tests.support.envelopes import ending, envelope
from tests.support.plans import Plan, explained
from tests.support.waiting import wait_until

WAITING, HELD, BATCH = 10_000, 2_000, 100
postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def _run(alias: str, sql: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)


def fill(alias: str, count: int) -> None:
    """Send one message and its run, and multiply both in the database."""
    (first,) = sent = [envelope()]
    enqueue(sent)
    for model in ("message", "taskrun"):
        with connections[alias].cursor() as cursor:
            cursor.execute(f"SELECT * FROM taskq_{model} LIMIT 0")
            columns = [c.name for c in cursor.description if c.name != "id"]
        values = [f"'{first.task_id}-' || n" if c == "task_id" else c for c in columns]
        _run(
            alias,
            f"INSERT INTO taskq_{model} ({', '.join(columns)}) SELECT {', '.join(values)} FROM taskq_{model}, "
            f"generate_series(2, {count}) AS n WHERE task_id = '{first.task_id}'",
        )


def _empty(alias: str) -> None:
    """One message, which waits in another queue."""
    enqueue([envelope(queue="other")])
    _run(alias, "VACUUM ANALYZE taskq_message")
    _run(alias, "VACUUM ANALYZE taskq_taskrun")


def _held_backlog(alias: str) -> None:
    """All but a few messages are held, by many workers; then they are gone."""
    fill(alias, WAITING)
    _run(alias, "UPDATE taskq_message SET token = 'w' || id % 1000 WHERE id % 100 > 0")
    _run(alias, "ANALYZE taskq_message")
    _run(alias, "ANALYZE taskq_taskrun")
    _run(alias, "TRUNCATE taskq_message")


def _scattered(alias: str) -> None:
    """The queue's few messages lie scattered in the table, among those of another queue."""
    enqueue([envelope(queue="other" if n % 40 else "taskq", priority=n * 7 % 10) for n in range(4_000)])
    _run(alias, "ANALYZE taskq_message")


def _all_dead(alias: str) -> None:
    """All messages have run, and nothing was vacuumed: all indexes are full, and seem to be as short as each other."""
    _run_tasks(alias, "t", 16)
    consuming.purge("taskq", alias)
    enqueue([envelope(delay=60) for _ in range(2_000)])
    _run(alias, "DELETE FROM taskq_scheduledmessage")
    _wait_for_older_transactions(alias)
    # A poll steps over the dead rows, and marks them in the index: no later claim reads them.
    assert claim("taskq", BATCH, "t") == []
    for model in ("message", "taskrun", "scheduledmessage"):
        _run(alias, f"ANALYZE taskq_{model}")


def _full(alias: str) -> None:
    fill(alias, WAITING)
    _run(alias, "ANALYZE taskq_message")
    _run(alias, "ANALYZE taskq_taskrun")


def _wait_for_older_transactions(alias: str) -> None:
    """Wait until PostgreSQL takes the rows that are dead now for dead.

    While it runs, each transaction that wrote before they died keeps them, also one in another database.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
        ((last,),) = cursor.fetchall()

        def oldest() -> int:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            return int(cursor.fetchone()[0])

        wait_until(lambda: oldest() > int(last), what="the end of older transactions")


#: When the statistics were made; after that the queue is filled.
STATISTICS: dict[str, Callable[[str], None]] = {
    "empty": _empty,
    "held-backlog": _held_backlog,
    "scattered": _scattered,
    "all-dead": _all_dead,
    "full": _full,
}


def _forget_statistics(alias: str) -> None:
    """Take away what is known of the values in columns: ANALYZE of an empty table would keep it."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT c.attrelid::regclass::text, quote_ident(c.attname), format_type(c.atttypid, c.atttypmod) "
            "FROM pg_attribute c JOIN pg_stats s ON c.attrelid = s.tablename::regclass AND c.attname = s.attname "
            "WHERE s.tablename IN ('taskq_message', 'taskq_taskrun', 'taskq_scheduledmessage') "
            "AND c.atttypid = 'varchar'::regtype AND s.schemaname = current_schema()"
        )
        for table, column, kind in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind}")


@pytest.fixture(params=STATISTICS.values(), ids=STATISTICS)
def statistics(request: pytest.FixtureRequest, alias: str) -> Iterator[str]:
    """Leave the tables with statistics of some time; return the alias."""
    # Dead rows of other tests are another subject.
    _run(alias, "TRUNCATE taskq_message, taskq_taskrun, taskq_scheduledmessage")
    _forget_statistics(alias)
    request.param(alias)
    yield alias
    connections[alias].close()


def _assert_reads(plans: Sequence[Plan], each: int, fixed: int = 20) -> None:
    """Assert that each statement reads at most ``each`` buffers a row, for a batch or more, and ``fixed``."""
    assert plans
    for plan in plans:
        assert plan.buffers <= each * max(plan.rows, BATCH) + fixed, str(plan)


@postgresql
def test_a_claim_reads_three_buffers_a_row(statistics: str) -> None:
    fill(statistics, WAITING)
    for _ in range(2):
        with explained(statistics, "FOR UPDATE SKIP LOCKED") as plans:
            assert len(claim("taskq", BATCH, "t")) == BATCH
        (plan,) = plans
        assert plan.rows == BATCH
        _assert_reads(plans, 3)


@postgresql
def test_a_workers_claim_reads_three_buffers_a_row(statistics: str) -> None:
    """Its plan was made before the queue was filled, and is kept."""
    _be_a_worker(statistics)
    for _ in range(8):
        claim("taskq", BATCH, "t")
    fill(statistics, WAITING)
    with connections[statistics].cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements WHERE statement LIKE 'UPDATE taskq_message%'")
        ((name,),) = cursor.fetchall()
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {name} ('t', 'taskq', {BATCH})")
        plan = Plan(name, cursor.fetchone()[0][0]["Plan"])
    assert plan.rows == BATCH
    _assert_reads([plan], 3)


def _be_a_worker(alias: str) -> None:
    connection = connections[alias]
    connection.ensure_connection()
    for_alias(alias).make_steady()


def _held(alias: str) -> list[Claimed]:
    """Let one worker hold many messages, and return a batch of them."""
    claimed = claim("taskq", HELD, "t")
    assert len(claimed) == HELD
    return claimed[:: HELD // BATCH]


@postgresql
@pytest.mark.parametrize("worker", [True, False])
def test_what_a_worker_does_with_its_messages_finds_them_by_id(statistics: str, worker: bool) -> None:
    if worker:
        _be_a_worker(statistics)
    fill(statistics, WAITING)
    batch = _held(statistics)
    ids = [m.id for m in batch]
    with explained(statistics) as plans:
        assert count_start("t", ids) == set(ids)
        assert acknowledge("t", ids) == set(ids)
        assert requeue("t", ids[:20]) == 20
        assert consuming.acknowledge("t", ids[20:25], statistics) == set(ids[20:25])
        reports = [Progress(m.id, m.task_id, "", "taskq", "HALF", None, "", 1.0, "w") for m in batch[25:30]]
        progress.write("t", reports)
        assert settle("t", [ending(m) for m in batch[25:]]) == set(ids[25:])
    # A descent of the index and the row's page, and that of a version which the claim has replaced.
    _assert_reads(plans, 8)
    with explained(statistics) as plans:
        assert requeue_held("t", statistics) == HELD - BATCH
    # Each run is looked for by its id, though few or none have started.
    assert all(plan.buffers <= 8 * HELD for plan in plans), "\n".join(map(str, plans))


@postgresql
def test_messages_and_runs_that_are_revoked_are_found_by_task(statistics: str) -> None:
    fill(statistics, WAITING)
    waiting = Message.objects.using(statistics).filter(token="").order_by("-id")[:BATCH]
    with explained(statistics) as plans:
        assert revoke([message.task_id for message in waiting]) == BATCH
    _assert_reads(plans, 8)


@pytest.fixture
def snapshot(alias: str) -> Iterator[str]:
    """Keep an old snapshot of the database open, under which all rows stay; return the alias."""
    _run(alias, "TRUNCATE taskq_message, taskq_taskrun, taskq_scheduledmessage")
    with closing(connections[alias].copy()) as other, other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM taskq_message")
        yield alias
    connections[alias].close()


def _run_tasks(alias: str, token: str, batches: int = 8) -> Claimed:
    """Let a worker claim and settle all but one batch of many messages; return the last."""
    fill(alias, 500 * batches + 500)
    for _ in range(batches):
        messages = claim("taskq", 500, token)
        settle(token, [ending(m) for m in messages])
    return messages[-1]


@postgresql
def test_a_claim_behind_the_front_reads_three_buffers_a_row(statistics: str) -> None:
    _be_a_worker(statistics)
    fill(statistics, WAITING)
    front = {0: claim("taskq", BATCH, "t")[-1].id}
    for _ in range(8):
        claim("taskq", 1, "t", after=front)
    with connections[statistics].cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements WHERE statement LIKE 'UPDATE taskq_message%%unnest%%'")
        ((name,),) = cursor.fetchall()
        after = f"ARRAY[9, 0]::smallint[], ARRAY[0, {front[0]}]::bigint[]"
        cursor.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {name} ('t', {after}, 'taskq', {BATCH}, {BATCH})"
        )
        plan = Plan(name, cursor.fetchone()[0][0]["Plan"])
    assert plan.rows == BATCH
    _assert_reads([plan], 3, 60)


@postgresql
def test_promotion_finds_due_messages_in_order_and_moves_them_by_id(statistics: str) -> None:
    _be_a_worker(statistics)
    past = time.time() - 60
    enqueue([envelope(eta=past + n / 100) for n in range(2_000)])
    for after in (None, (past + 5, 0)):
        with explained(statistics, "scheduledmessage") as plans:
            next_due(statistics, after)
            assert len(promote(BATCH, statistics, after=after)) == BATCH
        _assert_reads(plans, 5)


@postgresql
def test_a_claim_behind_the_front_steps_over_no_dead_rows(snapshot: str) -> None:
    last = _run_tasks(snapshot, "t")
    for after in (None, {0: last.id}):
        with explained(snapshot, "FOR UPDATE SKIP LOCKED") as plans:
            assert len(claim("taskq", BATCH, "t", after=after)) == BATCH
    assert plans[0].buffers <= 3 * BATCH + 30, str(plans[0])


@postgresql
def test_a_look_for_messages_to_park_reads_the_head_of_the_queue(statistics: str) -> None:
    fill(statistics, WAITING)
    with explained(statistics, "SELECT id, name FROM taskq_message") as plans:
        assert park_waiting("taskq", "shop.other", statistics) == 0
        assert park_waiting("taskq", "shop.add", statistics) == 2_000
    assert [plan.rows for plan in plans] == [2_000, 2_000]
    _assert_reads(plans, 3)


@postgresql
def test_parkings_are_found_by_a_look_each(statistics: str) -> None:
    fill(statistics, WAITING)
    for _ in range(2):
        park_waiting("taskq", "shop.add", statistics)
    enqueue([envelope(queue="a") for _ in range(10)])
    park_waiting("a", "shop.add", statistics)
    with explained(statistics, "taskq_message") as plans:
        assert len(parkings(["taskq", "a"], statistics)) == 2
    assert len(plans) == 3
    assert all(plan.buffers <= 20 for plan in plans), "\n".join(map(str, plans))


@postgresql
def test_a_look_behind_the_front_for_messages_to_park_steps_over_no_dead_rows(snapshot: str) -> None:
    last = _run_tasks(snapshot, "t")
    with explained(snapshot, "SELECT id, name FROM taskq_message") as plans:
        assert park_waiting("taskq", "shop.add", snapshot, after={0: last.id}) == 500
    (plan,) = plans
    assert plan.buffers <= 3 * 500 + 60, str(plan)


@postgresql
def test_the_newest_message_is_known_without_a_look_at_the_table(snapshot: str) -> None:
    last = _run_tasks(snapshot, "t")
    consuming.purge("taskq", snapshot)
    with explained(snapshot, "pg_sequence_last_value") as plans:
        assert (newest(snapshot) or 0) >= last.id + 500
    assert plans[0].buffers <= 30, str(plans[0])


@postgresql
def test_what_living_workers_have_held_costs_the_search_for_orphans_nothing(snapshot: str) -> None:
    _be_a_worker(snapshot)
    tokens = sorted(workers.register(f"w{n}") for n in range(2))
    for token in tokens:
        _run_tasks(snapshot, token, 2)
    (orphan,) = claim("taskq", 1, f"{tokens[0]}g")
    with explained(snapshot, "taskq_message") as plans:
        assert recover_orphans(snapshot) == 1
    assert plans
    assert all(plan.buffers <= 50 for plan in plans), "\n".join(map(str, plans))
    assert claim("taskq", 1, "t")[0].id == orphan.id


@postgresql
def test_promotion_behind_its_front_steps_over_no_dead_rows(snapshot: str) -> None:
    _be_a_worker(snapshot)
    past = time.time() - 60.123457
    enqueue([envelope(eta=past + n // 500) for n in range(3_000)])
    place = None
    for _ in range(13):
        place = promote(200, snapshot, after=place)[-1]
    for after in (None, place):
        with explained(snapshot, "ORDER BY due_at") as plans:
            seconds = next_due(snapshot, after)
            place = promote(100, snapshot, after=after)[-1]
    assert seconds is not None
    assert seconds < 0
    _assert_reads(plans, 3)
    assert len(promote(500, snapshot, after=place)) == 200, "none of those that are due at one time is passed over"


@postgresql
def test_a_workers_connection_does_not_compile_statements(alias: str) -> None:
    _be_a_worker(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("SHOW jit")
        assert cursor.fetchone() == ("off",)
    connections[alias].close()


@pytest.mark.parametrize("database", ["mariadb", "sqlite"], indirect=True)
def test_a_claim_names_its_index(alias: str) -> None:
    enqueue([envelope() for _ in range(10)])
    statements: list[tuple[str, Any]] = []

    def wrapper(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(wrapper):
        claim("taskq", 5, "t")
    sql, params = next((sql, params) for sql, params in statements if "ORDER BY priority" in sql)
    explain = "EXPLAIN QUERY PLAN " if connections[alias].vendor == "sqlite" else "EXPLAIN "
    with connections[alias].cursor() as cursor:
        cursor.execute(explain + sql.removeprefix(for_alias(alias).skip_locked_prefix), params)
        assert "taskq_message_to_claim" in str(cursor.fetchall())
