"""Queues and exchanges: declared, counted, purged, deleted, expired."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from kombu import Consumer, Exchange, Producer, Queue
from kombu.exceptions import ChannelError
from kombu.pidbox import Mailbox

from taskq.models import Binding, Message
from taskq.models import Queue as QueueRow
from taskq.store import topology
from tests.support.waiting import wait_until

Connect = Callable[..., Any]


def declare(channel: Any, name: str = "q", **options: Any) -> Any:
    queue = Queue(name, **options).bind(channel)
    queue.declare()
    return queue


def names(alias: str) -> list[str]:
    return sorted(QueueRow.objects.using(alias).values_list("name", flat=True))


def grow_old(alias: str, seconds: float) -> None:
    QueueRow.objects.using(alias).update(used_at=F("used_at") - timedelta(seconds=seconds))


def test_declaring_twice_is_one_queue(alias: str, channel: Any) -> None:
    for _ in range(2):
        declare(channel, exchange=Exchange("e"), routing_key="k", message_ttl=5, max_length=3)
    row = QueueRow.objects.using(alias).get()
    assert (row.name, row.durable, row.message_ttl, row.expires) == ("q", True, 5.0, None)
    assert row.arguments == '{"x-max-length": 3, "x-message-ttl": 5000}'
    assert Binding.objects.using(alias).count() == 1
    assert channel.list_bindings() == [("q", "e", "k")]


def test_declaring_with_other_options_is_an_error_that_names_them(channel: Any) -> None:
    declare(channel, durable=True)
    with pytest.raises(ChannelError, match="another durable, message_ttl, arguments") as caught:
        declare(channel, durable=False, message_ttl=1)
    assert caught.value.reply_code == 406
    Exchange("e", "direct").bind(channel).declare()
    with pytest.raises(ChannelError, match="another type"):
        Exchange("e", "topic").bind(channel).declare()
    with pytest.raises(ChannelError, match="direct, topic, fanout"):
        Exchange("h", "headers").bind(channel).declare()


def test_declaring_names_that_are_too_long_is_refused(alias: str, channel: Any) -> None:
    longest, longer = "x" * 255, "x" * 256
    declare(channel, longest, exchange=Exchange(longest), routing_key=longest)
    for name, exchange, key in ((longer, "e", "k"), ("q", longer, "k"), ("q", "e", longer)):
        with pytest.raises(ChannelError, match="256 characters: at most 255") as caught:
            declare(channel, name, exchange=Exchange(exchange), routing_key=key)
        assert caught.value.reply_code == 406
    assert longer not in names(alias)


def test_passive_declaration_counts_and_makes_nothing(alias: str, channel: Any) -> None:
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.queue_declare("q", passive=True)
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.exchange_declare("e", passive=True)
    Producer(channel).publish("x", routing_key="q")
    assert channel.queue_declare("q", passive=True) == ("q", 1, 0)
    Consumer(channel, [Queue("q")]).consume()
    assert channel.queue_declare("q", passive=True) == ("q", 1, 1)
    assert names(alias) == ["q"]


def test_queue_without_a_name_gets_one(channel: Any) -> None:
    assert channel.queue_declare("").queue.startswith("amq.gen-")


def test_purge_and_delete_leave_unacked_messages_to_their_consumer(alias: str, channel: Any) -> None:
    queue = declare(channel, exchange=Exchange("e"), routing_key="k")
    producer = Producer(channel)
    for n in range(3):
        producer.publish(n, routing_key="q")
    held = channel.basic_get("q")
    assert queue.purge() == 2
    producer.publish("x", routing_key="q")
    with pytest.raises(ChannelError, match="not empty"):
        queue.delete(if_empty=True)
    assert queue.delete() == 1
    assert names(alias) == []
    assert not Binding.objects.using(alias).exists()
    held.ack()
    assert not Message.objects.using(alias).exists()


def test_queue_in_use_is_not_deleted_if_unused(channel: Any) -> None:
    queue = declare(channel)
    consumer = Consumer(channel, [queue])
    consumer.consume()
    with pytest.raises(ChannelError, match="in use"):
        queue.delete(if_unused=True)
    consumer.cancel()
    queue.delete(if_unused=True)


def test_auto_delete_queue_goes_with_its_last_consumer(alias: str, connect: Connect) -> None:
    consumers = []
    for _ in range(2):
        consumer = Consumer(connect().channel(), [Queue("q", Exchange("e", "fanout"), auto_delete=True)])
        consumer.consume()
        consumers.append(consumer)
    consumers[0].cancel()
    assert names(alias) == ["q"]
    consumers[1].cancel()
    assert names(alias) == []
    assert not Binding.objects.using(alias).exists()


def test_exclusive_queue_goes_with_its_connection(alias: str, connection: Any, channel: Any) -> None:
    declare(channel, exclusive=True, auto_delete=True)
    connection.release()
    assert names(alias) == []


def test_unused_queue_expires(alias: str, channel: Any) -> None:
    exchange = Exchange("e", "fanout")
    declare(channel, "short", exchange=exchange, expires=10)
    declare(channel, "long", exchange=exchange)
    producer = Producer(channel, exchange)
    producer.publish("x")
    grow_old(alias, 11)
    producer.publish("x")
    assert (channel._size("short"), channel._size("long")) == (1, 2)
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.queue_declare("short", passive=True)
    assert topology.sweep(alias) == ["short"]
    assert names(alias) == ["long"]
    assert not Message.objects.using(alias).filter(queue="short").exists()


def test_expired_queue_is_declared_anew(alias: str, channel: Any) -> None:
    declare(channel, expires=10, message_ttl=1)
    grow_old(alias, 11)
    declare(channel, expires=20)
    assert QueueRow.objects.using(alias).get().expires == 20.0


def test_used_queue_does_not_expire(alias: str, channel: Any) -> None:
    declare(channel, expires=10)
    grow_old(alias, 8)
    channel.basic_get("q")
    grow_old(alias, 8)
    assert channel.queue_declare("q", passive=True).queue == "q"


def test_exchange_is_deleted_with_its_bindings(channel: Any) -> None:
    exchange = Exchange("e", "direct").bind(channel)
    declare(channel, exchange=exchange, routing_key="k")
    with pytest.raises(ChannelError, match="in use"):
        exchange.delete(if_unused=True)
    assert channel.get_exchanges() == ["e"]
    exchange.delete()
    assert channel.list_bindings() == []
    assert channel.get_exchanges() == []


def test_pidbox_remote_control_is_answered(connect: Connect) -> None:
    """Kombu's own remote control works over it, broadcast and reply."""
    mailbox = Mailbox("taskq", type="fanout", accept=["json"], queue_expires=10.0, queue_ttl=300.0)
    node_connection, caller = connect(), connect()
    channel = node_connection.channel()
    node = mailbox(node_connection).Node("one@here", channel=channel)
    node.handler(lambda state, **kwargs: {"ok": "pong"})
    node.handlers["ping"] = lambda state, **kwargs: {"ok": "pong"}
    node.listen(callback=node.handle_message)
    bound = mailbox(caller)
    bound._publish("ping", {}, destination=None, reply_ticket="ticket", channel=caller.default_channel, timeout=5)
    node_connection.drain_events(timeout=60)
    assert bound._collect("ticket", limit=1, timeout=60, channel=caller.default_channel) == [
        {"one@here": {"ok": "pong"}}
    ]


def test_consumer_keeps_its_queue_in_use(alias: str, connection: Any, channel: Any) -> None:
    Consumer(channel, [Queue("q", expires=0.3)]).consume()
    before = QueueRow.objects.using(alias).get().used_at

    def used_since() -> bool:
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.05)
        return bool(QueueRow.objects.using(alias).filter(used_at__gt=before).exists())

    wait_until(used_since)
