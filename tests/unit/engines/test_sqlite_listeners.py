"""What a worker's store thread hears on SQLite: the commits of others, and what its own transactions notify of."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest
from django.db import OperationalError, connections, transaction

from taskq.engines import for_alias, sqlite_listeners
from taskq.engines.inotify import Watch
from taskq.engines.listeners import Listener
from taskq.engines.marks import SCHEDULED_NAME, mark
from taskq.store import claim, requeue
from taskq.store.enqueue import enqueue, enqueue_one
from tests.support.envelopes import envelope

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def listener(alias: str) -> Iterator[Listener]:
    listener = for_alias(alias).store_thread_listener()
    listener.poll()
    yield listener
    listener.close()


def elsewhere(alias: str, call: Callable[[], object]) -> None:
    """Make a call in another thread, whose connection is another."""

    def run() -> None:
        try:
            call()
        finally:
            connections[alias].close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_commits_of_other_connections_are_heard_once(alias: str, listener: Listener) -> None:
    elsewhere(alias, lambda: enqueue_one(envelope()))
    assert listener.poll() is None
    assert listener.poll() == set()


def test_own_commits_are_heard_by_what_they_notify_of(alias: str, listener: Listener) -> None:
    enqueue([envelope(queue="a"), envelope(queue="b"), envelope(queue="c", delay=60)])
    assert listener.poll() == {mark("a"), mark("b"), mark(SCHEDULED_NAME)}
    enqueue_one(envelope(queue="d"))
    assert listener.poll() == {mark("d")}
    enqueue_one(envelope(queue="d", delay=60))
    assert listener.poll() == {mark(SCHEDULED_NAME)}
    (message,) = claim.claim("a", 1, "token", alias)
    assert listener.poll() == set()
    requeue.requeue("token", [message.id], alias)
    assert listener.poll() == {mark("a")}
    assert listener.poll() == set()


def test_own_messages_are_heard_without_notifications(alias: str, listener: Listener, settings: object) -> None:
    settings.TASKQ_NOTIFY = False  # type: ignore[attr-defined]
    enqueue([envelope(queue="a")])
    assert listener.poll() == {mark("a")}


def test_commit_of_another_that_the_thread_has_read_already_is_heard(alias: str, listener: Listener) -> None:
    elsewhere(alias, lambda: enqueue_one(envelope(queue="a")))
    assert len(claim.claim("a", 5, "token", alias)) == 1
    enqueue_one(envelope(queue="b"))
    assert listener.poll() is None


def test_names_of_a_transaction_that_was_rolled_back_do_no_harm(alias: str, listener: Listener) -> None:
    with transaction.atomic(using=alias):
        enqueue([envelope(queue="a")])
        transaction.set_rollback(True, using=alias)
    assert listener.poll() in (set(), {mark("a")})


def test_commits_before_a_new_connection_are_heard_and_those_after_it(alias: str, listener: Listener) -> None:
    connections[alias].close()
    elsewhere(alias, lambda: enqueue_one(envelope(queue="a")))
    assert listener.poll() is None
    assert listener.poll() == set()
    elsewhere(alias, lambda: enqueue_one(envelope(queue="a")))
    # The new log is watched too.
    assert listener.wait(60) is None


def fail_once(monkeypatch: pytest.MonkeyPatch, listener: Listener) -> None:
    """Have the listener meet a lock when it asks next."""

    def locked(connection: object) -> int:
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_listeners, "_version", locked)
        with pytest.raises(OperationalError):
            listener.poll()


def test_own_messages_are_heard_after_an_error(alias: str, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue_one(envelope(queue="a"))
    fail_once(monkeypatch, listener)
    assert listener.poll() == {mark("a")}


def test_new_connection_that_meets_a_lock_is_listened_to_by_the_next_call(
    alias: str, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = listener.fileno()
    connections[alias].close()
    connections[alias].ensure_connection()
    elsewhere(alias, lambda: enqueue_one(envelope(queue="a")))
    fail_once(monkeypatch, listener)
    assert listener.fileno() == -1
    # The numbers of two connections may be alike.
    listener._version = sqlite_listeners._version(connections[alias].connection)  # type: ignore[attr-defined]
    # The number of the old watch is that of another file now.
    others = [os.open(os.devnull, os.O_RDONLY)]
    while others[-1] < number:
        others.append(os.open(os.devnull, os.O_RDONLY))
    assert listener.poll() is None
    assert listener.poll() == set()
    for other in others:
        os.close(other)


def test_closed_listener_leaves_the_connection_to_the_thread(alias: str) -> None:
    listener = for_alias(alias).store_thread_listener()
    listener.close()
    enqueue_one(envelope())
    assert connections[alias].connection is not None


def test_other_threads_keep_nothing_of_what_they_send(alias: str, listener: Listener) -> None:
    elsewhere(alias, lambda: [enqueue_one(envelope(queue=f"q{n}")) for n in range(3)])
    assert listener.poll() is None
    assert listener.poll() == set()


def test_watch_is_closed_once_if_the_database_can_not_be_opened_again(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    close = Watch.close
    monkeypatch.setattr(Watch, "close", lambda self: (closed.append(self.fileno()), close(self)))
    listener = for_alias(alias).store_thread_listener()
    connections[alias].close()
    with monkeypatch.context() as patched:
        patched.setattr(connections[alias], "ensure_connection", Mock(side_effect=OperationalError("locked")))
        with pytest.raises(OperationalError):
            listener.poll()
    listener.close()
    assert len(closed) == 1
