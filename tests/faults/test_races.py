"""Two at once on one message, each at the worst moment: one transaction is held open while the other comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connections, transaction

from taskq import states
from taskq.models import Message, ScheduledMessage, TaskRun
from taskq.store import recover, workers
from taskq.store.claim import acknowledge, claim
from taskq.store.enqueue import enqueue
from taskq.store.promote import promote
from taskq.store.revoke import revoke
from taskq.store.settle import settle
from tests.support.databases import server_cursor
from tests.support.envelopes import ending, envelope
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.faults,
    # SQLite has one writer at a time: there is no such moment.
    pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True),
]


@contextmanager
def _meanwhile(alias: str, call: Callable[[], object]) -> Iterator[None]:
    """Make ``call`` in another thread once the transaction of the ``with`` block waits to be committed."""
    answers: list[object] = []

    def run() -> None:
        try:
            answers.append(call())
        finally:
            connections[alias].close()

    thread = threading.Thread(target=run)
    vendor, name = connections[alias].vendor, connections[alias].settings_dict["NAME"]
    # On a connection outside the transaction: within one, PostgreSQL's statistics stand still.
    with server_cursor({"mysql": "mariadb"}.get(vendor, vendor)) as cursor, transaction.atomic(using=alias):
        yield
        thread.start()
        # MariaDB looks anew only for one who has not asked for a tenth of a second.
        waits = partial(_someone_waits, cursor, vendor, name)
        wait_until(lambda: answers or waits(), interval=0.15, what="the other to wait for a lock")
    thread.join(60)
    assert answers


def _someone_waits(cursor: Any, vendor: str, name: str) -> bool:
    cursor.execute(_WAITING[vendor], [name])
    return bool(cursor.fetchone()[0])


_WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p "
    "ON p.id = t.trx_mysql_thread_id WHERE t.trx_state = 'LOCK WAIT' AND p.db = %s",
}


def test_message_promoted_while_it_is_revoked_is_revoked(alias: str) -> None:
    enqueue([envelope("x", delay=1e-6)])
    with _meanwhile(alias, lambda: revoke(["x"])):
        assert len(promote()) == 1
    assert not Message.objects.using(alias).exists()
    assert TaskRun.objects.using(alias).get().state == states.REVOKED


@pytest.mark.parametrize("delay", [0, 60])
def test_task_retried_while_it_is_revoked_is_revoked(alias: str, delay: float) -> None:
    enqueue([envelope("x")])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    with _meanwhile(alias, lambda: revoke(["x"])):
        settle(token, [ending(message, "RETRY", follow_ups=(envelope("x", reset=False, delay=delay),))])
    assert not Message.objects.using(alias).exists()
    assert not ScheduledMessage.objects.using(alias).exists()
    assert TaskRun.objects.using(alias).get().state == states.REVOKED


def test_message_acknowledged_while_its_worker_is_declared_dead_fails(alias: str) -> None:
    enqueue([envelope("x")])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    with _meanwhile(alias, lambda: recover.recover(token, 0)):
        assert acknowledge(token, [message.id])
    assert not Message.objects.using(alias).exists()
    assert TaskRun.objects.using(alias).get().state == states.FAILURE


def test_message_settled_while_its_worker_is_declared_dead_is_settled_once(alias: str) -> None:
    enqueue([envelope("x"), envelope("y")])
    token = workers.register("w")
    x, y = claim("taskq", 2, token)
    acknowledge(token, [x.id])
    with _meanwhile(alias, lambda: recover.recover(token, 0)):
        settle(token, [ending(x, keep=False), ending(y)])
    assert not Message.objects.using(alias).exists()
    # The result of x was to be ignored: no row, and no failure either.
    assert dict(TaskRun.objects.using(alias).values_list("task_id", "state")) == {"y": states.SUCCESS}


def test_message_settled_by_two_at_once_keeps_the_first_end(alias: str) -> None:
    enqueue([envelope("x")])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    with _meanwhile(alias, lambda: settle(token, [ending(message, result="second")])):
        settle(token, [ending(message, result="first")])
    assert TaskRun.objects.using(alias).get().result == "first"
