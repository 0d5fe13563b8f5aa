"""What happens when the database goes away under a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, OperationalError, connections, transaction
from kombu import Connection, Consumer, Producer, Queue

from taskq.models import Message
from taskq.transport.errors import BrokerUnavailable
from tests.support.databases import registered, server_cursor

Connect = Callable[..., Any]
SERVERS = pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)


def break_connection(alias: str) -> None:
    """Let the server end the session of the calling thread, as when it restarts."""
    connection = connections[alias]
    connection.ensure_connection()
    postgresql = connection.vendor == "postgresql"
    session = connection.connection.info.backend_pid if postgresql else connection.connection.thread_id()
    with server_cursor("postgresql" if postgresql else "mariadb") as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)" if postgresql else "KILL %s", [session])


@SERVERS
def test_broken_connection_is_replaced(alias: str, channel: Any) -> None:
    producer = Producer(channel)
    break_connection(alias)
    with pytest.raises(BrokerUnavailable):
        producer.publish("lost", routing_key="q")
    producer.publish("sent", routing_key="q")
    assert channel.basic_get("q").payload == "sent"


@SERVERS
def test_publishing_with_retry_outlasts_a_broken_connection(alias: str, connection: Any) -> None:
    producer = connection.Producer()
    producer.publish("first", routing_key="q")
    break_connection(alias)
    producer.publish("second", routing_key="q", retry=True, retry_policy={"max_retries": 1, "interval_start": 0})
    assert Message.objects.using(alias).count() == 2


@SERVERS
def test_publishing_is_not_retried_inside_a_transaction(alias: str, connection: Any) -> None:
    producer = connection.Producer()
    producer.publish("first", routing_key="q")

    def send_on_a_broken_connection() -> None:
        with transaction.atomic(using=alias):
            break_connection(alias)
            producer.publish("second", routing_key="q", retry=True)

    with pytest.raises((OperationalError, InterfaceError)) as caught:
        send_on_a_broken_connection()
    assert not isinstance(caught.value, BrokerUnavailable)
    connections[alias].close()
    assert Message.objects.using(alias).count() == 1


@SERVERS
def test_consumer_of_a_broken_connection_goes_on_with_a_new_one(alias: str, connect: Connect) -> None:
    connection = connect()
    Producer(connection).publish("x", routing_key="q")
    got: list[Any] = []
    consumer = Consumer(connection.default_channel, [Queue("q")], callbacks=[lambda body, message: got.append(body)])
    consumer.consume()
    break_connection(alias)
    with pytest.raises(connection.connection_errors):
        connection.drain_events(timeout=60)
    connection.ensure_connection()
    connection.drain_events(timeout=60)
    assert got == ["x"]


def test_permanent_database_error_is_not_reported_as_unavailable(channel: Any) -> None:
    def fail() -> None:
        raise OperationalError("no such table: taskq_message")

    with pytest.raises(OperationalError) as caught:
        channel._do(fail)
    assert not isinstance(caught.value, BrokerUnavailable)


def test_connecting_to_an_unknown_alias_is_an_error() -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASES has no 'nowhere'"):
        Connection("django://nowhere").connect()


@pytest.mark.parametrize("use", ["channel", "drain", "publish"])
def test_failover_to_the_next_url_works_from_the_first_call(alias: str, use: str) -> None:
    down = registered("down", "postgres://nobody@127.0.0.1:1/nothing")
    with down, Connection(f"django://down;django://{alias}") as connection:
        if use == "channel":
            assert connection.channel().connection.alias == alias
        elif use == "drain":
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0)
        else:
            Producer(connection).publish("sent", routing_key="q", retry=True, retry_policy={"interval_start": 0})
            assert Message.objects.using(alias).get().queue == "q"
