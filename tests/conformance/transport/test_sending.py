"""Where messages go, what is kept of them, and that they belong to the caller's transaction."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction
from kombu import Exchange, Producer, Queue
from kombu.exceptions import ChannelError

from taskq.models import Binding, Message, TaskRun
from taskq.models import Queue as QueueRow
from taskq.records import Envelope
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from tests.support.waiting import wait_until


def queues_of(alias: str) -> list[str]:
    return sorted(Message.objects.using(alias).values_list("queue", flat=True))


def bodies(channel: Any, queue: str) -> list[Any]:
    found = []
    while (message := channel.basic_get(queue, no_ack=True)) is not None:
        found.append(message.payload)
    return found


def test_default_exchange_needs_no_declaration(alias: str, channel: Any) -> None:
    Producer(channel).publish({"n": 1}, routing_key="anything")
    assert bodies(channel, "anything") == [{"n": 1}]
    assert not QueueRow.objects.using(alias).exists()


def test_direct_exchange_reaches_queues_bound_with_the_key(alias: str, channel: Any) -> None:
    exchange = Exchange("letters", "direct")
    for name, key in [("a1", "a"), ("a2", "a"), ("b", "b")]:
        Queue(name, exchange, key).bind(channel).declare()
    Producer(channel, exchange).publish("hello", routing_key="a")
    assert queues_of(alias) == ["a1", "a2"]


def test_topic_exchange_reaches_queues_with_a_matching_pattern(alias: str, channel: Any) -> None:
    exchange = Exchange("news", "topic")
    patterns = {"all": "#", "sport": "sport.*", "deep": "sport.#", "end": "#.final", "exact": "sport.tennis"}
    for name, pattern in patterns.items():
        Queue(name, exchange, pattern).bind(channel).declare()
    producer = Producer(channel, exchange)

    def reached(key: str) -> list[str]:
        Message.objects.using(alias).all().delete()
        producer.publish("x", routing_key=key)
        return queues_of(alias)

    assert reached("sport.tennis") == ["all", "deep", "exact", "sport"]
    assert reached("sport") == ["all", "deep"]
    assert reached("sport.tennis.final") == ["all", "deep", "end"]
    assert reached("weather") == ["all"]


def test_fanout_exchange_reaches_each_queue_once(alias: str, channel: Any) -> None:
    exchange = Exchange("all", "fanout")
    for name in ("one", "two", "three"):
        Queue(name, exchange, routing_key=f"ignored {name}").bind(channel).declare()
    channel.queue_bind("one", "all", "another key")
    Producer(channel, exchange).publish("hello", routing_key="whatever")
    assert queues_of(alias) == ["one", "three", "two"]


def test_unbound_message_is_dropped_and_an_unknown_exchange_is_an_error(alias: str, channel: Any) -> None:
    producer = Producer(channel, Exchange("lonely", "topic"))
    producer.publish("x", routing_key="a.b")
    assert not Message.objects.using(alias).exists()
    with pytest.raises(ChannelError, match="no exchange 'nowhere'"):
        Producer(channel, auto_declare=False).publish("x", exchange="nowhere", routing_key="a")


def test_unbound_queue_gets_no_message(alias: str, channel: Any) -> None:
    exchange = Exchange("e", "direct")
    queue = Queue("q", exchange, "k").bind(channel)
    queue.declare()
    queue.unbind_from(exchange, "k")
    Producer(channel, exchange).publish("x", routing_key="k")
    assert queues_of(alias) == []
    assert not Binding.objects.using(alias).exists()


@pytest.mark.parametrize("body", ["umlauts äöü €", "with \x00 in it", "", b"\x00\xff\xfe", b"text as bytes", b""])
def test_body_comes_back_as_it_was(channel: Any, body: str | bytes) -> None:
    Producer(channel).publish(body, routing_key="q", content_type="application/data")
    message = channel.basic_get("q")
    assert message.body == (body if isinstance(body, bytes) else body.encode())
    assert message.content_encoding == ("binary" if isinstance(body, bytes) else "utf-8")


def test_text_is_stored_as_text(alias: str, channel: Any) -> None:
    Producer(channel).publish({"ü": [1, 2]}, routing_key="q", serializer="json")
    row = Message.objects.using(alias).get()
    assert json.loads(row.body) == {"ü": [1, 2]}
    assert "body_encoding" not in row.properties


def test_compressed_and_pickled_bodies_come_back(channel: Any) -> None:
    Producer(channel).publish({"a": "b" * 1000}, routing_key="q", compression="zlib")
    Producer(channel).publish({"c": 1}, routing_key="q", serializer="pickle")
    first, second = channel.basic_get("q"), channel.basic_get("q")
    assert first.payload == {"a": "b" * 1000}
    second.accept = {"application/x-python-serialize"}
    assert second.payload == {"c": 1}


def test_headers_and_properties_come_back(channel: Any) -> None:
    Producer(channel).publish("x", routing_key="q", headers={"n": 1}, correlation_id="c", reply_to="r", priority=3)
    message = channel.basic_get("q")
    assert message.headers == {"n": 1}
    assert {k: message.properties[k] for k in ("correlation_id", "reply_to", "priority")} == {
        "correlation_id": "c",
        "reply_to": "r",
        "priority": 3,
    }
    assert message.delivery_info["routing_key"] == "q"
    assert message.delivery_info["exchange"] == ""


def test_rollback_drops_published_messages(alias: str, channel: Any) -> None:
    producer = Producer(channel)

    def send_and_fail() -> None:
        with transaction.atomic(using=alias):
            producer.publish("x", routing_key="q")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send_and_fail()
    with transaction.atomic(using=alias):
        producer.publish("kept", routing_key="q")
        with pytest.raises(ZeroDivisionError):
            send_and_fail()  # in a savepoint
    assert bodies(channel, "q") == ["kept"]


def test_batch_is_sent_at_its_end(alias: str, channel: Any) -> None:
    exchange = Exchange("all", "fanout")
    for name in ("one", "two"):
        Queue(name, exchange).bind(channel).declare()
    producer = Producer(channel, exchange)
    assert producer.supports_batch_publish
    with producer.batch():
        for n in range(5):
            producer.publish(n)
        assert not Message.objects.using(alias).exists()
    assert bodies(channel, "one") == bodies(channel, "two") == [0, 1, 2, 3, 4]


def test_batch_that_fails_sends_nothing(alias: str, channel: Any) -> None:
    producer = Producer(channel)

    def send(exchange: str) -> None:
        with producer.batch():
            producer.publish("x", routing_key="q")
            producer.publish("x", routing_key="q", exchange=exchange)
            if not exchange:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send("")
    with pytest.raises(ChannelError):
        send("nowhere")
    assert not Message.objects.using(alias).exists()


def test_batch_is_flushed_at_its_size(alias: str, channel: Any) -> None:
    producer = Producer(channel)
    with producer.batch(max_size=2):
        for n in range(3):
            producer.publish(n, routing_key="q")
        assert Message.objects.using(alias).count() == 2
    assert bodies(channel, "q") == [0, 1, 2]


def test_task_published_with_kombu_is_claimed_as_a_task(alias: str, channel: Any) -> None:
    expires = "2999-01-01T00:00:00+00:00"
    headers = {"task": "shop.mail", "id": "some-id", "lang": "py", "expires": expires, "retries": 0}
    Producer(channel).publish([[1], {}, {}], routing_key="taskq", headers=headers, priority=7, correlation_id="some-id")
    row = Message.objects.using(alias).get()
    assert (row.task_id, row.name, row.priority, row.queue) == ("some-id", "shop.mail", 7, "taskq")
    assert row.expires_at is not None
    assert row.expires_at.isoformat() == expires
    [claimed] = claim("taskq", 10, "worker", alias)
    assert json.loads(claimed.body) == [[1], {}, {}]
    assert json.loads(claimed.headers)["task"] == "shop.mail"
    assert not TaskRun.objects.using(alias).exists()


def test_task_sent_by_taskq_is_read_with_kombu(alias: str, channel: Any) -> None:
    headers = {"task": "shop.mail", "id": "some-id"}
    envelope = Envelope(
        "some-id", "shop.mail", "taskq", headers, "[[1], {}, {}]", properties={"correlation_id": "some-id"}
    )
    enqueue([envelope], alias)
    message = channel.basic_get("taskq")
    assert message.payload == [[1], {}, {}]
    assert message.headers == headers
    assert message.properties["correlation_id"] == "some-id"


def test_expired_message_is_not_delivered(alias: str, channel: Any) -> None:
    producer = Producer(channel)
    producer.publish("gone", routing_key="q", expiration=0.001)
    producer.publish("stays", routing_key="q", expiration=1000)
    wait_until(lambda: channel._size("q") == 1)
    assert bodies(channel, "q") == ["stays"]
    assert not Message.objects.using(alias).exists()


def test_queue_gives_its_messages_a_time_to_live(alias: str, channel: Any) -> None:
    Queue("short", Exchange("e", "fanout"), message_ttl=50).bind(channel).declare()
    Producer(channel).publish("direct", routing_key="short")
    Producer(channel).publish("longer", routing_key="short", expiration=1000)
    Producer(channel).publish("bound", exchange="e")
    ends = Message.objects.using(alias).values_list("expires_at", "created_at")
    assert [(end - made).total_seconds() for end, made in ends if end] == [pytest.approx(50, abs=1)] * 3


def test_publishing_with_a_routing_key_that_is_too_long_is_refused(channel: Any) -> None:
    with pytest.raises(ValueError, match="routing_key is 300 characters"):
        Producer(channel).publish("x", routing_key="q" * 300)
