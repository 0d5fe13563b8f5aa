"""A link, over kombu's transport in memory: its producer's channel and errors, and what it consumes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Exchange, Producer, Queue
from kombu.asynchronous import Hub
from kombu.exceptions import ChannelError

from taskq.worker.remote.link import Link

EXCHANGE = Exchange("link-test", "direct", durable=False)
QUEUE = Queue("link-test", EXCHANGE, routing_key="k")


@pytest.fixture
def connection() -> Iterator[Any]:
    with Connection("memory://") as connection:
        yield connection
        QUEUE(connection.channel()).delete()


@pytest.fixture
def link(connection: Any) -> Iterator[Link]:
    hub = Hub()
    yield Link(connection, hub)
    hub.close()


def spied(link: Link, name: str, error: Exception | None = None) -> list[Any]:
    """Count the calls of a method of the producer's channel, which fails if there is an ``error``."""
    channel, calls = link._opened_producer(EXCHANGE).channel, []  # type: ignore[var-annotated]
    method = getattr(channel, name)

    def spy(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if error is not None:
            raise error
        return method(*args, **kwargs)

    setattr(channel, name, spy)
    return calls


def received(connection: Any) -> list[Any]:
    queue = QUEUE(connection.channel())
    queue.declare()
    return [message.payload for message in iter(lambda: queue.get(no_ack=True), None)]


def test_a_queue_is_declared_once_though_its_old_messages_are_taken(link: Link, connection: Any) -> None:
    old, declared, declare = [], [], QUEUE.__class__.queue_declare
    Producer(connection.channel()).publish("old", exchange=EXCHANGE, routing_key="k", declare=[QUEUE])

    class Spied(Queue):
        def queue_declare(self, *args: Any, **kwargs: Any) -> Any:
            declared.append(self.name)
            return declare(self, *args, **kwargs)

    link.consume(Spied("link-test", EXCHANGE, routing_key="k"), lambda message: None, old.append)
    assert [message.payload for message in old] == ["old"]
    assert declared == ["link-test"]


def test_an_exchange_is_declared_once_a_connection(link: Link, connection: Any) -> None:
    assert received(connection) == []
    declared = spied(link, "exchange_declare")
    for number in range(3):
        link.publish(number, EXCHANGE, "k")
    assert received(connection) == [0, 1, 2]
    assert declared == []
    link.publish(4, Exchange("link-test-2", "direct"), "k")
    assert len(declared) == 1


@pytest.mark.parametrize("error", [ChannelError("closed by the broker"), UnicodeEncodeError("utf-8", "x", 0, 1, "no")])
def test_after_an_error_the_channel_is_closed_and_another_one_declares_again(
    link: Link, connection: Any, error: Exception
) -> None:
    assert received(connection) == []
    channel = link._opened_producer(EXCHANGE).channel
    spied(link, "basic_publish", error)
    with pytest.raises(type(error)):
        link.publish("lost", EXCHANGE, "k")
    assert channel.closed
    link.publish("sent", EXCHANGE, "k")
    assert received(connection) == ["sent"]
    assert link._producer.channel is not channel


def test_a_connection_that_is_gone_is_told(link: Link) -> None:
    spied(link, "basic_publish", ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError):
        link.publish("lost", EXCHANGE, "k")
    assert KeyError not in link.connection_errors


def test_what_waited_before_goes_elsewhere(link: Link, connection: Any) -> None:
    assert received(connection) == []
    producer = Producer(connection.channel())
    old, new = [], []  # type: ignore[var-annotated]
    for number in range(3):
        producer.publish(number, exchange="link-test", routing_key="k")
    link.consume(QUEUE, lambda message: new.append(message.payload), lambda message: old.append(message.payload))
    assert (old, new) == ([0, 1, 2], [])
    producer.publish(3, exchange="link-test", routing_key="k")
    connection.drain_events(timeout=5)
    assert (old, new) == ([0, 1, 2], [3])


def test_compressed_messages_are_not_opened(link: Link, connection: Any) -> None:
    assert received(connection) == []
    producer, got = Producer(connection.channel()), []  # type: ignore[var-annotated]
    link.consume(QUEUE, got.append)
    producer.publish("x" * 1_000_000, exchange="link-test", routing_key="k", compression="zlib")
    producer.publish("plain", exchange="link-test", routing_key="k", headers={"compression": "nonsense"})
    for _ in range(2):
        connection.drain_events(timeout=5)
    assert len(got[0].body) < 10_000
    assert got[1].payload == "plain"


def test_a_call_that_is_cancelled_is_not_made_and_holds_nothing(link: Link) -> None:
    made: list[int] = []
    cancel = link.after(0.0, lambda: made.append(1))
    link.after(0.0, lambda: made.append(2))
    cancel()
    for _ in range(3):
        link.hub.run_once()
    assert made == [2]
    cancel()
