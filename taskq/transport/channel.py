"""The channel: AMQP's methods for messages, each of them a few rows; those for queues are in ``entities``.

Called by kombu. A channel holds no connection: every operation runs on the calling
thread's ``connections[alias]`` and so takes part in its transaction. It keeps nothing in
memory but the messages that it has claimed and not yet acknowledged.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError

from taskq.log_escapes import get_logger
from taskq.records import Claimed, Envelope
from taskq.store import consuming, enqueue, exchanges, requeue, topology

from . import message as messages
from .batch import PublishBatch
from .entities import EntityChannel
from .errors import not_found
from .prefetch_buffer import PrefetchBuffer
from .unacked import Unacked

if TYPE_CHECKING:
    from .transport import Transport

logger = get_logger("taskq.transport")

#: Seconds between two updates of a queue's last use by ``basic_get``.
TOUCH_EVERY = 1.0


@dataclass(slots=True)
class ChannelConsumer:
    """A consumer that ``basic_consume`` has started."""

    tag: str
    queue: str
    no_ack: bool
    callback: Callable[[messages.DatabaseMessage], Any]


class Channel(EntityChannel):
    """Keeps in rows what kombu's virtual channel keeps in memory: entities, bindings, deliveries, restoring."""

    Message: Any = messages.DatabaseMessage
    QoS: Any = Unacked
    supports_fanout = True
    supports_batch_publish = True
    do_restore = False

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.no_ack_consumers: Any = set()
        self.consumers: dict[str, ChannelConsumer] = {}
        self._turns: deque[str] = deque()
        self._prefetched = PrefetchBuffer()
        self._touched: dict[str, float] = {}

    # -- sending

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Send a message in the caller's transaction; a message that routes to no queue is dropped.

        Raises ``ChannelError`` if there is no such exchange.
        """
        self.send([(message, exchange or "", routing_key or "")])

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """Return a batch for ``Producer.batch()``: one transaction for up to ``max_size`` messages."""
        return PublishBatch(self, max_size)

    def send(self, batch: Iterable[tuple[dict[str, Any], str, str]]) -> None:
        """Send messages with their exchange and routing key, in one transaction."""
        routes: dict[tuple[str, str], list[exchanges.Target]] = {}
        ready: list[Envelope] = []
        now = time.time()
        for message, exchange, routing_key in batch:
            targets = routes.get((exchange, routing_key))
            if targets is None:
                targets = routes[exchange, routing_key] = self._route(exchange, routing_key)
            ready += messages.envelopes(message, exchange, routing_key, targets, now)
        if len(ready) == 1:
            self._do(enqueue.enqueue_one, ready[0], self.alias)
        else:
            self._do(enqueue.enqueue, ready, self.alias)

    def _route(self, exchange: str, routing_key: str) -> list[exchanges.Target]:
        targets = self._do(exchanges.route, exchange, routing_key, self.alias)
        if targets is None:
            raise not_found("exchange", exchange, "basic_publish")
        return targets

    # -- receiving

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], Any], consumer_tag: str, **kwargs: Any
    ) -> None:
        """Start a consumer: ``drain_events`` hands the queue's messages to ``callback``."""
        self.consumers[consumer_tag] = ChannelConsumer(consumer_tag, queue, no_ack, callback)
        self._turns.append(consumer_tag)
        if no_ack:
            self.no_ack_consumers.add(consumer_tag)
        self._do(self.connection.consumers_changed)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop a consumer: its prefetched messages are requeued, an auto-delete queue without consumers is deleted."""
        consumer = self.consumers.pop(consumer_tag, None)
        if consumer is None or self.connection is None:
            return
        self._turns.remove(consumer_tag)
        if all(other.queue != consumer.queue for other in self.consumers.values()):
            self._requeue(self._prefetched.take_all(consumer.queue), redelivered=False)
        self._do(self.connection.consumers_changed)
        if not self._consumed(consumer.queue) and self._do(topology.is_auto_delete, consumer.queue, self.alias):
            self.queue_delete(consumer.queue)

    def deliver(self) -> bool:
        """Hand one message to a consumer, in turns; false if no message waits for any consumer."""
        for _ in range(len(self._turns)):
            tag = self._turns[0]
            self._turns.rotate(-1)
            consumer = self.consumers[tag]
            claimed = self._next(consumer.queue, consumer.no_ack)
            if claimed is not None:
                consumer.callback(self.Message(claimed, self, tag))
                return True
        return False

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> messages.DatabaseMessage | None:
        """Return one message, or ``None`` if no message waits."""
        now = monotonic()
        if now - self._touched.get(queue, -TOUCH_EVERY) >= TOUCH_EVERY:
            self._touched[queue] = now
            self._do(topology.touch, [queue], self.alias)
        claimed = self._next(queue, no_ack, only=True)
        return None if claimed is None else self.Message(claimed, self)

    def _next(self, queue: str, no_ack: bool, *, only: bool = False) -> Claimed | None:
        room = None if no_ack or only else self.qos.can_consume_max_estimate()
        while room != 0:
            claimed = self._prefetched.take(queue)
            if claimed is None:
                limit = 1 if only else self._prefetched.wanted(queue, room)
                if no_ack and limit == 1:
                    with suppress(consuming.NeedsClaim):
                        return self._take(queue)
                self._prefetched.put(queue, limit, self._do(self._claim, queue, limit))
                claimed = self._prefetched.take(queue)
            if claimed is None:
                return None
            if not no_ack:
                self.qos.append(claimed, claimed.id)
                return claimed
            # Without acknowledgement a message is deleted before it is handed over, so that it never comes twice.
            if self._acknowledge([claimed.id]):
                return claimed
        return None

    def _take(self, queue: str) -> Claimed | None:
        """Return one message, which is deleted already, or ``None`` if no message waits."""
        taken = self._do(consuming.take, queue, self.alias)
        self._prefetched.note(queue, taken is not None)
        return taken

    def _claim(self, queue: str, limit: int) -> list[Claimed]:
        return consuming.claim(queue, limit, self.connection.lease.hold(), self.alias)

    # -- acknowledging

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Acknowledge a message, with ``multiple`` also all messages that were handed over before it."""
        self._check_open()
        self._acknowledge(self.qos.take(delivery_tag, multiple=multiple))

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Delete a message, or requeue it as redelivered; it keeps its place."""
        self._check_open()
        ids = self.qos.take(delivery_tag)
        if requeue:
            self._requeue(ids)
        else:
            self._acknowledge(ids)

    def basic_recover(self, requeue: bool = False) -> None:
        """Requeue all messages that were handed over and are not acknowledged."""
        if not requeue:
            raise NotImplementedError("django:// recovers with requeue=True only")
        self._requeue(self.qos.take_all())

    def _acknowledge(self, ids: list[int]) -> bool:
        token = self._token(ids)
        done = self._do(consuming.acknowledge, token, ids, self.alias) if token else set()
        if len(done) < len(ids):
            logger.warning("Messages %s were given to another consumer before they were acknowledged.", {*ids} - done)
        return bool(done)

    def _requeue(self, ids: list[int], *, redelivered: bool = True) -> None:
        if token := self._token(ids):
            self._do(requeue.requeue, token, ids, self.alias, redelivered=redelivered)

    def _token(self, ids: list[int]) -> str:
        # Empty in a forked child, which has its parent's ids: and an empty token is that of waiting messages.
        return str(self.connection.lease.token) if ids else ""

    # -- the end

    def close(self) -> None:
        """Cancel the consumers and requeue unacknowledged messages; if the database fails, they wait for the lease."""
        if self.closed:
            return
        self.closed = True
        if self.connection is None:
            return
        try:
            for tag in list(self.consumers):
                self.basic_cancel(tag)
            self._requeue(self._prefetched.take_all(), redelivered=False)
            self._requeue(self.qos.take_all())
        except (DatabaseError, InterfaceError) as error:
            logger.warning(
                "The messages of a channel could not be put back now; they go back when its lease is over: %s", error
            )
        finally:
            self.connection.close_channel(self)
