"""A queue that expires while its consumer is frozen: the consumer is told, and what serves it declares anew."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import ConsumerCancelled
from django.db import connections
from kombu import Consumer, Exchange, Producer, Queue
from kombu.mixins import ConsumerMixin

from taskq import control
from taskq.conf import settings
from taskq.control import registry
from taskq.control.mailbox import Mailbox
from taskq.events import Receiver
from taskq.models import Binding, Worker
from taskq.models import Queue as QueueRow
from taskq.store import topology
from taskq.transport import lease
from taskq.worker.remote import connection as remote_names
from taskq.worker.remote.thread import RemoteThread
from tests.support.waiting import wait_until

on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
Connect = Callable[..., Any]


def expire(name: str, alias: str) -> None:
    """Do what a peer does after ``name`` was not used for its time."""
    rows = QueueRow.objects.using(alias).filter(name=name)
    # Its consumer may keep it in use meanwhile.
    wait_until(
        lambda: rows.update(used_at=datetime(2001, 1, 1, tzinfo=UTC)) and name in topology.sweep(alias),
        what=f"{name} to be swept",
    )
    assert not Binding.objects.using(alias).filter(queue=name).exists()


def expiring(name: str = "mailbox") -> Queue:
    return Queue(name, Exchange("box", "fanout"), expires=0.6, durable=False)


def consume(connection: Any, queue: Queue, got: list[Any]) -> None:
    Consumer(
        connection.default_channel, [queue], no_ack=True, callbacks=[lambda body, message: got.append(body)]
    ).consume()


def drain(connection: Any) -> None:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.05)


def wait_for_cancel(connection: Any) -> None:
    with pytest.raises(ConsumerCancelled, match="mailbox") as caught:
        wait_until(lambda: drain(connection), what="the consumer to be cancelled")
    assert isinstance(caught.value, connection.recoverable_connection_errors)


def test_a_consumer_is_told_that_its_queue_is_gone(alias: str, connect: Connect) -> None:
    connection = connect()
    consume(connection, expiring(), [])
    drain(connection)
    expire("mailbox", alias)
    wait_for_cancel(connection)


def test_publishing_on_that_connection_is_not_disturbed(alias: str, connect: Connect) -> None:
    connection = connect()
    consume(connection, expiring(), [])
    expire("mailbox", alias)
    producer = Producer(connection.channel())
    wait_until(
        lambda: producer.publish("x", routing_key="other") is None and connection.transport.lease._gone,
        what="the queue to be missed",
    )
    wait_for_cancel(connection)


def test_queues_that_stay_disturb_nobody(alias: str, connect: Connect) -> None:
    connection, got = connect(), []  # type: ignore[var-annotated]
    for queue in (expiring("one"), Queue("undeclared", no_declare=True), Queue("lasting")):
        consume(connection, queue, got)
    before = QueueRow.objects.using(alias).get(name="one").used_at
    wait_until(
        lambda: drain(connection) or QueueRow.objects.using(alias).get(name="one").used_at > before,
        what="the queue to be kept in use",
    )
    Producer(connection).publish("x", routing_key="undeclared")
    wait_until(lambda: drain(connection) or got == ["x"], what="the message")


class Program(ConsumerMixin):  # type: ignore[misc, unused-ignore]
    """A program of kombu, on a thread with connections of its own."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.got = connection, []  # type: ignore[var-annotated]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.run(timeout=0.1)
        finally:
            self.connection.release()
            connections.close_all()

    def get_consumers(self, consumer: Any, channel: Any) -> list[Any]:
        return [consumer([expiring()], on_message=lambda message: self.got.append(message.payload), no_ack=True)]


@on_postgresql
def test_a_program_of_kombu_declares_its_queue_again(alias: str, connect: Connect) -> None:
    producer = Producer(connect().channel())
    program = Program(connect())

    def arrives(what: str) -> bool:
        producer.publish(what, exchange="box", declare=[expiring().exchange])
        return what in program.got

    try:
        wait_until(lambda: arrives("before"), what="a message")
        expire("mailbox", alias)
        wait_until(lambda: arrives("after"), what="a message after the queue was declared again")
    finally:
        program.should_stop = True
        program.thread.join()


@on_postgresql
def test_a_worker_answers_again(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.load()
    monkeypatch.setattr(remote_names, "_FORGOTTEN_ON_DATABASE", 0.6)
    state: Any = SimpleNamespace(hostname="w@h")
    remote = RemoteThread()
    remote.add(Mailbox(state))
    remote.start()
    inspect = control.inspect("w@h", timeout=0.3, limit=1)
    try:
        wait_until(lambda: inspect.ping() == {"ok": "pong"}, what="an answer")
        expire(f"w@h.{settings.NAMESPACE}.pidbox", alias)
        wait_until(lambda: inspect.ping() == {"ok": "pong"}, what="an answer of a mailbox that is declared again")
    finally:
        remote.end(20)


@on_postgresql
def test_a_monitor_is_told(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.events.names._FORGOTTEN_AFTER", 0.6)
    reading = Receiver({}, wait=0.05).itercapture()
    next(reading)
    (queue,) = QueueRow.objects.using(alias).filter(name__startswith=f"{settings.NAMESPACE}ev.")
    expire(queue.name, alias)
    with pytest.raises(ConsumerCancelled):
        wait_until(lambda: next(reading) is None, what="the end of the capture")


def test_connections_leave_nothing_for_the_end_of_the_process(alias: str, connect: Connect) -> None:
    before = atexit._ncallbacks()
    for number in range(5):
        with connect() as connection:
            consume(connection, expiring(f"q{number}"), [])
            held = connection.transport.lease
            assert held in lease._held
        assert held not in lease._held
    assert atexit._ncallbacks() == before


def test_open_leases_are_given_up_at_the_end_of_the_process(alias: str, connect: Connect) -> None:
    for connection in (connect(), connect()):
        consume(connection, expiring(), [])
    assert Worker.objects.using(alias).count() == 2
    lease._deregister_all()
    assert not Worker.objects.using(alias).exists()
