"""Sending and transactions: which commit is waited for, what is repeated, and what a rollback takes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction

from taskq import AsyncResult, chain, chord, group, signals, task
from taskq.engines import for_alias
from taskq.models import Message
from taskq.sending import publisher
from taskq.store import transactions
from taskq.tasks.current import current_task
from testproject.arithmetic.tasks import add, xsum
from tests.support.databases import registered
from tests.support.envelopes import envelope
from tests.support.worker_here import WorkerHere

SERVERS = pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)


def queued(alias: str) -> list[str]:
    return list(Message.objects.using(alias).order_by("id").values_list("task_id", flat=True))


@pytest.mark.parametrize("statement", ["SELECT 1 FROM taskq_nothing", "SELECT no_column FROM taskq_message"])
def test_error_about_a_missing_table_or_column_says_to_migrate(alias: str, statement: str) -> None:
    def work() -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute(statement)

    with pytest.raises(DatabaseError) as caught:
        transactions.repeated(for_alias(alias), work)
    assert caught.value.__notes__ == [f"Database {alias!r} lacks migrations of taskq: run manage.py migrate."]


# -- which commit


@pytest.fixture
def stats(alias: str, tmp_path: Path) -> Iterator[str]:
    """A second database, which has nothing to do with taskq."""
    with registered("stats", f"sqlite:///{tmp_path}/stats.sqlite3") as name:
        yield name


def test_delay_on_commit_waits_for_the_transaction_on_another_database(alias: str, stats: str) -> None:
    with transaction.atomic(using=stats):
        result = add.delay_on_commit(1, 2)
        assert queued(alias) == []
    assert queued(alias) == [result.id]
    with transaction.atomic(using=stats):
        add.delay_on_commit(1, 2)
        transaction.set_rollback(True, using=stats)
    assert queued(alias) == [result.id]


def test_delay_on_commit_within_two_transactions_asks_for_using(alias: str, stats: str) -> None:
    with transaction.atomic(using=stats), transaction.atomic(using=alias):
        with pytest.raises(RuntimeError, match=rf"'stats' and '{alias}'.*using='stats'"):
            add.delay_on_commit(1, 2)
        result = add.apply_async_on_commit((1, 2), using=alias)
    assert queued(alias) == [result.id]
    with transaction.atomic(using=alias):
        now = add.apply_async_on_commit((1, 2), using=stats)
        assert queued(alias) == [result.id, now.id]


# -- errors that repeating may cure


@contextmanager
def _tables_locked(alias: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Lock the table of messages until a sender pauses after an error; yield the pauses."""
    locked, release = threading.Event(), threading.Event()
    pauses: list[float] = []
    postgresql = connections[alias].vendor == "postgresql"

    def hold() -> None:
        connection = connections[alias]
        with connection.cursor() as cursor:
            if postgresql:
                with transaction.atomic(using=alias):
                    cursor.execute("LOCK TABLE taskq_message IN EXCLUSIVE MODE")
                    locked.set()
                    release.wait(60)
            else:
                cursor.execute("LOCK TABLES taskq_message WRITE")
                locked.set()
                release.wait(60)
                cursor.execute("UNLOCK TABLES")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(60)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        release.set()
        thread.join(60)

    monkeypatch.setattr(transactions, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=pause))
    with connections[alias].cursor() as cursor:
        cursor.execute("SET lock_timeout = '20ms'" if postgresql else "SET SESSION lock_wait_timeout = 1")
    try:
        yield pauses
    finally:
        release.set()
        thread.join(60)


CALLS: dict[str, Callable[[], Any]] = {
    "delay": lambda: add.delay(1, 1),
    "delay_many": lambda: add.delay_many([(1, 1), (2, 2)]),
    "canvas": lambda: chord([add.s(1, 1), add.s(2, 2)], xsum.s()).delay(),
    "exchange": lambda: add.apply_async((1, 1), exchange="taskq"),
}


@SERVERS
@pytest.mark.parametrize("call", CALLS)
def test_sending_is_repeated_after_a_lock_timeout(call: str, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with _tables_locked(alias, monkeypatch) as pauses:
        CALLS[call]()
    assert len(pauses) == 1
    assert len(queued(alias)) == (1 if call in {"delay", "exchange"} else 2)


@SERVERS
def test_sending_in_the_callers_transaction_raises_a_lock_timeout(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = _tables_locked(alias, monkeypatch)
    with locked as pauses, pytest.raises(OperationalError), transaction.atomic(using=alias):
        add.delay(1, 1)
    assert pauses == []
    assert queued(alias) == []


def test_messages_are_announced_once_though_their_transaction_is_repeated(alias: str) -> None:
    heard: list[str] = []

    def receiver(headers: Any, **_: Any) -> None:
        heard.append(headers["id"])

    engine = publisher.for_alias(alias)
    sent = [envelope() for _ in range(3 * publisher.CHUNK)]
    chunks = publisher._Chunks(engine, iter(sent))
    signals.before_task_publish.connect(receiver)
    try:
        first, again = list(chunks), list(chunks)
    finally:
        signals.before_task_publish.disconnect(receiver)
    assert heard == [e.task_id for e in sent]
    assert [e for chunk in first for e in chunk] == [e for chunk in again for e in chunk] == sent
    assert chunks.all_kept()


def test_a_large_send_is_not_kept_in_memory(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_KEPT", 2)
    chunks = publisher._Chunks(publisher.for_alias(alias), (envelope() for _ in range(3 * publisher.CHUNK)))
    assert [len(chunk) for chunk in chunks] == [publisher.CHUNK] * 3
    assert not chunks.all_kept()


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_tables_without_transactions_are_found(alias: str) -> None:
    engine = publisher.for_alias(alias)
    assert engine.tables_without_transactions() == []
    with connections[alias].cursor() as cursor:
        cursor.execute("ALTER TABLE taskq_lease ENGINE=MyISAM")
        try:
            assert engine.tables_without_transactions() == ["taskq_lease"]
        finally:
            cursor.execute("ALTER TABLE taskq_lease ENGINE=InnoDB")


# -- rollbacks


class Undo(Exception):
    """Rolls back a block."""


@task(name="tests.transactions.sends")
def sends(how: str) -> str:
    """Send one task whose block is rolled back, and one whose block is committed."""
    alias = connections[publisher._broker_alias()].alias
    for undone in (True, False):
        try:
            with transaction.atomic(using=alias):
                WAYS[how]()
                if undone:
                    raise Undo
        except Undo:
            pass
    return how


WAYS: dict[str, Callable[[], Any]] = {
    "delay": lambda: add.delay(1, 1),
    "on commit": lambda: add.delay_on_commit(1, 1),
    "many": lambda: add.delay_many([(1, 1)]),
    "canvas": lambda: chain(add.s(1, 1), add.s(1)).delay(),
}


@pytest.mark.parametrize("how", WAYS)
def test_children_of_a_block_that_was_rolled_back_are_no_children(how: str, alias: str) -> None:
    result = sends.delay(how)
    WorkerHere(alias).work()
    children = result.children
    assert children is not None
    assert len(children) == 1
    assert children[0].get(timeout=0) in {2, 3}


@task(name="tests.transactions.adds")
def adds() -> int:
    """Add two members to the chord; the block of the first is rolled back."""
    alias = publisher._broker_alias()
    for value in (10, 20):
        try:
            with transaction.atomic(using=alias):
                current_task.add_to_chord(add.s(value, 0))
                if value == 10:
                    raise Undo
        except Undo:
            pass
    return 1


def test_member_added_in_a_block_that_was_rolled_back_is_not_waited_for(alias: str) -> None:
    result: AsyncResult[Any] = chord(group(adds.s(), add.s(1, 1)), xsum.s()).delay()
    WorkerHere(alias).work()
    assert result.get(timeout=0) == 1 + 2 + 20


def test_after_task_publish_is_not_sent_for_a_task_that_was_rolled_back(alias: str) -> None:
    heard: list[str] = []

    def receiver(headers: Any, **_: Any) -> None:
        heard.append(headers["id"])

    signals.after_task_publish.connect(receiver)
    try:
        with transaction.atomic(using=alias):
            sent = add.delay(1, 1)
            assert heard == []
        with pytest.raises(Undo), transaction.atomic(using=alias):
            add.delay(1, 1)
            add.delay_many([(1, 1)])
            group(add.s(1, 1), add.s(2, 2)).delay()
            raise Undo
        (at_once,) = add.delay_many([(1, 1)])
    finally:
        signals.after_task_publish.disconnect(receiver)
    assert heard == [sent.id, at_once.id]
