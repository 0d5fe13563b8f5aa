"""The channel: AMQP's verbs for messages, each of them a few rows; those for queues are in ``entities``.

Called by kombu. A channel holds no connection: every operation runs on the calling
thread's ``connections[alias]`` and so takes part in its transaction. Nothing is kept
in memory but what this channel has taken and not yet acknowledged.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError

from taskq.records import Claimed, Envelope
from taskq.store import consuming, enqueue, exchanges, release, topology

from . import message as messages
from .batch import PublishBatch
from .entities import EntityChannel
from .errors import not_found
from .inbox import Inbox
from .unacked import Unacked

if TYPE_CHECKING:
    from .transport import Transport

logger = logging.getLogger("taskq.transport")

#: Seconds between notes that ``basic_get`` uses a queue.
TOUCH_EVERY = 1.0


@dataclass(slots=True)
class Consumer:
    """One ``basic_consume``."""

    tag: str
    queue: str
    no_ack: bool
    callback: Callable[[messages.Message], Any]


class Channel(EntityChannel):
    """Overrides all that the virtual channel keeps in memory: entities, bindings, deliveries, restoring."""

    Message: Any = messages.Message
    QoS: Any = Unacked
    supports_fanout = True
    supports_batch_publish = True
    do_restore = False

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.no_ack_consumers: Any = set()
        self.consumers: dict[str, Consumer] = {}
        self._turns: deque[str] = deque()
        self._inbox = Inbox()
        self._touched: dict[str, float] = {}

    # -- sending

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Send a message in the caller's transaction; one that no queue is bound for is dropped.

        Raises ``ChannelError`` if there is no such exchange.
        """
        self.send([(message, exchange or "", routing_key or "")])

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """Return what ``Producer.batch()`` collects in: one transaction for up to ``max_size`` messages."""
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
        """Hand the queue's messages to ``callback`` in ``drain_events``."""
        self.consumers[consumer_tag] = Consumer(consumer_tag, queue, no_ack, callback)
        self._turns.append(consumer_tag)
        if no_ack:
            self.no_ack_consumers.add(consumer_tag)
        self._do(self.connection.consumers_changed)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop a consumer. What was taken for it but not handed over goes back; an auto-delete queue may go."""
        consumer = self.consumers.pop(consumer_tag, None)
        if consumer is None or self.connection is None:
            return
        self._turns.remove(consumer_tag)
        if all(other.queue != consumer.queue for other in self.consumers.values()):
            self._give_back(self._inbox.take_all(consumer.queue))
        self._do(self.connection.consumers_changed)
        if not self._consumed(consumer.queue) and self._do(topology.is_auto_delete, consumer.queue, self.alias):
            self._do(topology.delete_queue, consumer.queue, self.alias)

    def deliver(self) -> bool:
        """Hand one message to the consumer whose turn it is; false if there is none for any."""
        for _ in range(len(self._turns)):
            tag = self._turns[0]
            self._turns.rotate(-1)
            consumer = self.consumers[tag]
            claimed = self._next(consumer.queue, consumer.no_ack)
            if claimed is not None:
                consumer.callback(self.Message(claimed, self, tag))
                return True
        return False

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> messages.Message | None:
        """Return one message, or ``None`` if none waits."""
        now = monotonic()
        if now - self._touched.get(queue, -TOUCH_EVERY) >= TOUCH_EVERY:
            self._touched[queue] = now
            self._do(topology.touch, [queue], self.alias)
        claimed = self._next(queue, no_ack, only=True)
        return None if claimed is None else self.Message(claimed, self)

    def _next(self, queue: str, no_ack: bool, *, only: bool = False) -> Claimed | None:
        room = None if no_ack or only else self.qos.can_consume_max_estimate()
        while room != 0:
            claimed = self._inbox.take(queue)
            if claimed is None:
                limit = 1 if only else self._inbox.wanted(queue, room)
                self._inbox.put(queue, limit, self._do(self._claim, queue, limit))
                claimed = self._inbox.take(queue)
            if claimed is None:
                return None
            if not no_ack:
                self.qos.append(claimed, claimed.id)
                return claimed
            # Without acknowledgement a message is gone before it is handed over, so that it never comes twice.
            if self._acknowledge([claimed.id]):
                return claimed
        return None

    def _claim(self, queue: str, limit: int) -> list[Claimed]:
        return consuming.claim(queue, limit, self.connection.lease.hold(), self.alias)

    # -- acknowledging

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Acknowledge a message, with ``multiple`` all that were handed over up to it."""
        self._check_open()
        self._acknowledge(self.qos.take(delivery_tag, multiple=multiple))

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Drop a message, or put it back to where it was, marked as redelivered."""
        self._check_open()
        ids = self.qos.take(delivery_tag)
        if requeue:
            self._requeue(ids)
        else:
            self._acknowledge(ids)

    def basic_recover(self, requeue: bool = False) -> None:
        """Put back all that was handed over and is not acknowledged."""
        if not requeue:
            raise NotImplementedError("django:// recovers with requeue=True only")
        self._requeue(self.qos.take_all())

    def _acknowledge(self, ids: list[int]) -> bool:
        done = self._do(consuming.acknowledge, self._token(), ids, self.alias) if self._holds(ids) else set()
        if len(done) < len(ids):
            logger.warning("Messages %s were given to another consumer before they were acknowledged.", {*ids} - done)
        return bool(done)

    def _requeue(self, ids: list[int]) -> None:
        if self._holds(ids):
            self._do(consuming.requeue, self._token(), ids, self.alias)

    def _give_back(self, ids: list[int]) -> None:
        if self._holds(ids):
            self._do(release.release, self._token(), ids, self.alias)

    def _holds(self, ids: list[int]) -> bool:
        # A forked child has its parent's list but not its token, and no token is what waiting messages have.
        return bool(ids) and bool(self._token())

    def _token(self) -> str:
        token: str = self.connection.lease.token
        return token

    # -- the end

    def close(self) -> None:
        """Cancel the consumers and put back what is not acknowledged; what the database refuses, the lease does."""
        if self.closed:
            return
        self.closed = True
        if self.connection is None:
            return
        try:
            for tag in list(self.consumers):
                self.basic_cancel(tag)
            self._give_back(self._inbox.take_all())
            self._requeue(self.qos.take_all())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Could not give back what a channel held, its lease will: %s", error)
        finally:
            self.connection.close_channel(self)
