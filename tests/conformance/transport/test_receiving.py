"""Consuming: each message once, in order, acknowledged, given back, waited for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from amqp.exceptions import RecoverableConnectionError
from django.db import OperationalError, connections, transaction
from kombu import Consumer, Producer, Queue
from kombu.asynchronous import Hub
from kombu.mixins import ConsumerMixin

from taskq.models import Message, Worker
from taskq.processes import host_identity
from taskq.store import workers
from taskq.store.claim import claim
from taskq.transport.lease import _deregister_all
from tests.support.waiting import wait_until

Connect = Callable[..., Any]


def send(channel: Any, *bodies: Any, queue: str = "q", **options: Any) -> None:
    for body in bodies:
        Producer(channel).publish(body, routing_key=queue, **options)


def consume(channel: Any, got: list[Any], queue: str = "q", **options: Any) -> Consumer:
    options.setdefault("callbacks", [lambda body, message: got.append(message)])
    consumer = Consumer(channel, [Queue(queue)], **options)
    consumer.consume()
    return consumer


def drain(connection: Any) -> None:
    try:
        while True:
            connection.drain_events(timeout=0)
    except TimeoutError:
        return


def payloads(messages: list[Any]) -> list[Any]:
    return [message.payload for message in messages]


def test_simple_queue_puts_gets_and_clears(connection: Any) -> None:
    queue = connection.SimpleQueue("letters")
    for n in range(3):
        queue.put({"n": n})
    assert queue.qsize() == 3
    first = queue.get(timeout=60)
    assert first.payload == {"n": 0}
    assert queue.qsize() == 2
    first.ack()
    assert queue.get_nowait().payload == {"n": 1}
    assert queue.clear() == 1
    with pytest.raises(queue.Empty):
        queue.get_nowait()
    queue.close()


def test_simple_buffer_leaves_no_message_and_no_worker_row(alias: str, connection: Any) -> None:
    buffer = connection.SimpleBuffer("letters")
    buffer.put("x")
    assert buffer.get(timeout=60).payload == "x"
    buffer.close()
    connection.release()
    assert not Message.objects.using(alias).exists()
    assert not Worker.objects.using(alias).exists()


def test_messages_come_by_priority_and_then_in_order(connection: Any, channel: Any) -> None:
    for n, priority in enumerate([0, 5, 9, 5, None, 12]):
        send(channel, n, priority=priority)
    got: list[Any] = []
    consume(channel, got, no_ack=True)
    drain(connection)
    assert payloads(got) == [2, 5, 1, 3, 0, 4]


def test_acknowledged_message_is_gone(alias: str, connection: Any, channel: Any) -> None:
    send(channel, 1, 2, 3)
    got: list[Any] = []
    consume(channel, got)
    drain(connection)
    assert Message.objects.using(alias).exclude(token="").count() == 3
    got[1].channel.basic_ack(got[1].delivery_tag, multiple=True)
    assert Message.objects.using(alias).count() == 1
    got[2].reject()
    assert not Message.objects.using(alias).exists()


def test_requeued_message_keeps_its_place_and_is_redelivered(connection: Any, channel: Any) -> None:
    send(channel, 1, 2)
    message = channel.basic_get("q")
    assert message.delivery_info["redelivered"] is False
    message.requeue()
    again = channel.basic_get("q")
    assert again.payload == 1
    assert again.delivery_info["redelivered"] is True
    assert channel.basic_get("q").delivery_info["redelivered"] is False


def test_basic_recover_requeues_unacked_messages(channel: Any) -> None:
    send(channel, 1, 2)
    assert [channel.basic_get("q").payload for _ in range(2)] == [1, 2]
    channel.basic_recover(requeue=True)
    assert [channel.basic_get("q").payload for _ in range(2)] == [1, 2]


def test_prefetch_count_limits_unacked_messages(connection: Any, channel: Any) -> None:
    send(channel, 1, 2, 3)
    got: list[Any] = []
    consumer = consume(channel, got)
    consumer.qos(prefetch_count=2)
    drain(connection)
    assert payloads(got) == [1, 2]
    got[0].ack()
    drain(connection)
    assert payloads(got) == [1, 2, 3]


def test_closed_channel_requeues_its_unacked_messages(alias: str, connect: Connect) -> None:
    first, second = connect(), connect()
    channel = first.channel()
    send(channel, *range(5))
    got: list[Any] = []
    consumer = consume(channel, got)
    for _ in range(3):
        first.drain_events(timeout=60)
    got[0].ack()
    consumer.cancel()
    channel.close()
    other = second.channel()
    left = [other.basic_get("q") for _ in range(4)]
    assert payloads(left) == [1, 2, 3, 4]
    assert [m.delivery_info["redelivered"] for m in left] == [True, True, False, False]


def test_acknowledging_on_a_closed_channel_is_an_error(alias: str, connection: Any, channel: Any) -> None:
    send(channel, 1)
    message = channel.basic_get("q")
    connection.release()
    with pytest.raises(RecoverableConnectionError):
        message.ack()
    assert Message.objects.using(alias).filter(token="").count() == 1


def test_forked_child_does_not_acknowledge_messages_of_its_parent(
    alias: str, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(channel, 1)
    message = channel.basic_get("q")
    with monkeypatch.context() as child:
        child.setattr("os.getpid", lambda: -1)
        channel._acknowledge([message.delivery_tag])
    assert Message.objects.using(alias).exclude(token="").count() == 1
    message.ack()
    assert not Message.objects.using(alias).exists()


def test_two_queues_take_turns(connection: Any, channel: Any) -> None:
    send(channel, *["a"] * 5, queue="a")
    send(channel, "b", queue="b")
    got: list[Any] = []
    consume(channel, got, queue="a", no_ack=True)
    consume(channel, got, queue="b", no_ack=True, tag_prefix="b")
    for _ in range(2):
        connection.drain_events(timeout=60)
    assert sorted(payloads(got)) == ["a", "b"]


def test_concurrent_consumers_get_each_message_once(alias: str, connect: Connect) -> None:
    send(connect().channel(), *range(100))
    got: dict[str, list[Any]] = {"first": [], "second": []}
    barrier = threading.Barrier(2)

    def work(name: str) -> None:
        connection = connect()
        try:
            channel = connection.channel()
            consume(channel, [], no_ack=name == "first", callbacks=[lambda body, m: (got[name].append(body), m.ack())])
            barrier.wait(60)
            drain(connection)
            connection.release()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(name,)) for name in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got["first"] + got["second"]) == list(range(100))
    assert not Message.objects.using(alias).exists()


def test_waiting_consumer_is_woken_by_a_new_message(alias: str, connect: Connect) -> None:
    got: list[Any] = []
    waiting = threading.Event()

    def wait() -> None:
        connection = connect()
        try:
            consume(connection.channel(), got, no_ack=True)
            waiting.set()
            connection.drain_events(timeout=60)
            connection.release()
        finally:
            connections.close_all()

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(60)
    send(connect().channel(), "news")
    thread.join(60)
    assert payloads(got) == ["news"]


def test_drain_events_times_out(connection: Any, channel: Any) -> None:
    consume(channel, [])
    for timeout in (0, 0.01):
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=timeout)


def test_acknowledgement_belongs_to_the_transaction(alias: str, connection: Any, channel: Any) -> None:
    send(channel, 1)
    message = channel.basic_get("q")

    def acknowledge_and_fail() -> None:
        with transaction.atomic(using=alias):
            message.ack()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        acknowledge_and_fail()
    assert Message.objects.using(alias).count() == 1
    connection.release()
    assert Message.objects.using(alias).filter(token="", redelivered=True).count() == 1


def test_lease_of_a_dead_connection_is_taken_over(
    alias: str, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    # Who has not looked for as long as its own lease begins to measure again: a busy machine takes its time.
    dead, living = connect(lease=1.0), connect(lease=1.0)
    channel = dead.channel()
    send(channel, "x")
    message = channel.basic_get("q")
    other = living.channel()
    consume(other, got := [], queue="q")

    def look() -> list[Any]:
        drain(living)
        return got

    wait_until(look)
    assert got[0].delivery_info["redelivered"] is True
    message.ack()
    assert "given to another consumer" in caplog.text
    assert Message.objects.using(alias).count() == 1


def test_a_connection_whose_process_has_exited_is_taken_over_at_once(alias: str, connect: Connect) -> None:
    exited = workers.register("kombu1@here", host=host_identity(), pid=2**22 + 1, process_started=1, lease=300.0)
    channel = connect().channel()
    send(channel, "x")
    claim("q", 1, exited, alias)
    living = connect()
    consume(living.channel(), got := [])
    living.transport.lease._next_beat = 0.0
    drain(living)
    assert [message.delivery_info["redelivered"] for message in got] == [True]


def test_a_lease_whose_database_failed_starts_to_watch_its_peers_again(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = connect().transport.lease
    lease.hold()
    peer = workers.register("peer")
    lease._next_beat = 0.0
    lease.keep()
    assert peer in lease._watch._last
    with monkeypatch.context() as patch:
        patch.setattr(lease, "_heartbeat", _fail)
        lease._next_beat = 0.0
        with pytest.raises(OperationalError):
            lease.keep()
    assert not lease._watch._last


def _fail() -> None:
    raise OperationalError("gone")


def test_consumer_whose_lease_is_lost_registers_anew(alias: str, connect: Connect) -> None:
    connection = connect()
    channel = connection.channel()
    send(channel, "x")
    consume(channel, got := [], no_ack=True)
    Worker.objects.using(alias).all().delete()
    connection.transport.lease._next_beat = 0.0
    drain(connection)
    assert payloads(got) == ["x"]
    assert Worker.objects.using(alias).filter(state="consumer").count() == 1


def test_consumer_mixin_receives_messages(connect: Connect) -> None:
    class Reader(ConsumerMixin):
        def __init__(self) -> None:
            self.connection = connect()
            self.got: list[Any] = []

        def get_consumers(self, consumer: Any, channel: Any) -> list[Any]:
            return [consumer([Queue("q")], callbacks=[self.on_message])]

        def on_message(self, body: Any, message: Any) -> None:
            self.got.append(body)
            message.ack()
            self.should_stop = len(self.got) == 3

    send(connect().channel(), 1, 2, 3)
    reader = Reader()
    reader.run()
    assert reader.got == [1, 2, 3]


def test_program_exit_without_close_requeues_unacked_messages(alias: str, connection: Any, channel: Any) -> None:
    send(channel, 1)
    channel.basic_get("q")
    _deregister_all()
    assert Message.objects.using(alias).filter(token="", redelivered=True).count() == 1
    assert not Worker.objects.using(alias).exists()


def test_messages_are_received_in_kombus_event_loop(connect: Connect) -> None:
    connection, sender = connect(), connect()
    hub = Hub()
    got: list[Any] = []
    consume(connection.channel(), got, no_ack=True)
    connection.register_with_event_loop(hub)
    channel = sender.channel()
    send(channel, 1, 2, 3)

    def arrived(count: int) -> bool:
        hub.run_once()
        return len(got) >= count

    wait_until(lambda: arrived(3), interval=0)
    send(channel, 4)
    wait_until(lambda: arrived(4), interval=0)
    assert payloads(got) == [1, 2, 3, 4]
    connection.transport.unregister_from_event_loop(connection, hub)
    send(channel, 5)
    hub.call_soon(lambda: None)
    hub.run_once()
    assert len(got) == 4
    hub.close()


def test_message_with_unreadable_headers_is_a_decode_error(alias: str, channel: Any) -> None:
    send(channel, "x")
    Message.objects.using(alias).update(headers="{not json", properties="[]")
    errors: list[Any] = []
    consume(channel, [], on_decode_error=lambda message, error: (errors.append(error), message.reject()))
    channel.connection.client.drain_events(timeout=60)
    assert len(errors) == 1
    assert not Message.objects.using(alias).exists()
