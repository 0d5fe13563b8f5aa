"""Consumers that acknowledge nothing: a message is gone before it is handed over, in few statements if it is small."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from kombu import Consumer, Exchange, Producer, Queue

from taskq.control import broadcast
from taskq.models import Message, Worker
from taskq.models import Queue as QueueRow
from tests.conformance.transport.test_receiving import drain, send


@pytest.fixture
def got() -> list[Any]:
    return []


@pytest.fixture
def consumer(channel: Any, got: list[Any]) -> Consumer:
    consumer = Consumer(channel, [Queue("q")], no_ack=True, on_message=lambda message: got.append(message.payload))
    consumer.consume()
    return consumer


@pytest.mark.usefixtures("consumer")
def test_message_is_deleted_before_it_is_handed_over(alias: str, connection: Any, channel: Any, got: list[Any]) -> None:
    send(channel, *range(10), priority=1)
    send(channel, "first", priority=9)
    drain(connection)
    assert got == ["first", *range(10)]
    assert not Message.objects.using(alias).exists()


@pytest.mark.usefixtures("consumer")
def test_large_message_comes_whole_and_expired_one_not(
    alias: str, connection: Any, channel: Any, got: list[Any]
) -> None:
    send(channel, "late", expiration=60)
    rows = Message.objects.using(alias).filter(expires_at__isnull=False)
    assert rows.update(expires_at=F("created_at") - timedelta(seconds=5)) == 1
    send(channel, "x" * 200_000, "small")
    drain(connection)
    assert got == ["x" * 200_000, "small"]
    assert not Message.objects.using(alias).exists()


def test_message_that_another_consumer_has_claimed_is_left_alone(
    alias: str, connection: Any, channel: Any, got: list[Any], consumer: Consumer
) -> None:
    send(channel, "theirs", "ours")
    Message.objects.using(alias).filter(pk=Message.objects.using(alias).order_by("pk").first().pk).update(token="other")
    drain(connection)
    assert got == ["ours"]
    assert Message.objects.using(alias).get().token == "other"
    consumer.cancel()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_simple_message_takes_two_statements(alias: str, connection: Any, channel: Any, got: list[Any]) -> None:
    with Consumer(channel, [Queue("q")], no_ack=True, on_message=lambda message: got.append(message.payload)):
        send(channel, "one")
        connection.transport.lease.keep()
        with CaptureQueriesContext(connections[alias]) as queries:
            connection.drain_events(timeout=0)
    assert got == ["one"]
    assert len(queries) == 2, [query["sql"] for query in queries]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_question_takes_few_statements_and_leaves_no_row(alias: str) -> None:
    with CaptureQueriesContext(connections[alias]) as queries:
        assert broadcast("ping", reply=True, timeout=0.05) == []
    # BEGIN and COMMIT are among them.
    assert len(queries) <= 55, [query["sql"] for query in queries]
    assert not QueueRow.objects.using(alias).exists()
    assert not Worker.objects.using(alias).exists()


def test_queue_of_ones_own_is_empty_when_it_is_new(connect: Callable[..., Any]) -> None:
    exchange = Exchange("here", "direct")
    first = connect().channel()
    own = Queue("mine", exchange, exclusive=True)(first)
    declared = own.queue_declare()
    assert (declared.message_count, declared.consumer_count) == (0, 0)
    Producer(first).publish("hello", routing_key="mine")
    assert own.queue_declare().message_count == 1
