"""Declarations: a duty of the store thread that declares a worker's queues, exchanges and bindings.

A message row carries its queue's name, so most queues need no declaration. These do: queues of
topic and fanout exchanges, kombu's ``Broadcast`` queues, of which each worker has its own, and
exclusive queues, which are deleted with their worker.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from kombu.entity import Exchange, Queue
from kombu.transport.base import to_rabbitmq_queue_arguments

from taskq.messages.routing import bindings_of, is_broadcast
from taskq.store import exchanges, topology, workers
from taskq.worker import log_lines

from .store_thread import Duty

#: Seconds without use by its worker after which the queue of a broadcast expires with its messages.
FORGOTTEN_AFTER = 300.0
#: How many times a queue is declared again in the time after which it expires.
_TOUCHES = 4


class Declarations(Duty):
    """Declares those of one worker's queues that need it, and keeps them in use. Used on the store thread only."""

    def __init__(self, queues: Iterable[Queue], alias: str) -> None:
        self._queues = [queue for queue in queues if _needs_declaring(queue)]
        self._alias = alias
        self._next = 0.0
        #: Whether all queues are declared, so that senders find them.
        self.made = not self._queues

    def add(self, queue: Queue) -> None:
        """Declare a queue that the worker reads from now on, if that is needed: senders may not know its exchange."""
        self.cancel(queue.name)
        own = all(key == queue.name and exchange.name in {"", key} for exchange, key in bindings_of(queue))
        if _needs_declaring(queue) or not own:
            self._declare(queue)
            self._queues.append(queue)
            self._next = 0.0

    def cancel(self, name: str) -> None:
        """Declare a queue no more. If it expires without use, it will."""
        self._queues = [queue for queue in self._queues if queue.name != name]

    def work(self) -> bool:
        """Declare the queues when it is time, and again later, so that no queue expires or stays expired."""
        if self._queues and time.monotonic() >= self._next:
            for queue in self._queues:
                self._declare(queue)
            self.made = True
            expiries = topology.expiries([queue.name for queue in self._queues], self._alias)
            self._next = time.monotonic() + min(expiries.values(), default=math.inf) / _TOUCHES
        return False

    def _declare(self, queue: Queue) -> None:
        different = topology.declare_queue(queue.name, _options(queue), self._alias).different
        _warn("queue", queue.name, different)
        for exchange, key in bindings_of(queue):
            if exchange.name:
                self._declare_exchange(exchange)
                topology.bind(queue.name, exchange.name, key, self._alias)

    def _declare_exchange(self, exchange: Exchange) -> None:
        different = topology.declare_exchange(
            exchange.name,
            exchange.type,
            durable=bool(exchange.durable),
            auto_delete=bool(exchange.auto_delete),
            arguments=getattr(exchange, "arguments", None),
            alias=self._alias,
        )
        _warn("exchange", exchange.name, different)

    def remove(self) -> None:
        """Delete the auto-delete and exclusive queues that no worker consumes from, with their messages."""
        for queue in self._queues:
            goes = queue.auto_delete or queue.exclusive
            if goes and not workers.readers(queue.name, self._alias):
                topology.delete_queue(queue.name, self._alias)

    def due(self) -> float | None:
        """Return the seconds until the queues are declared again."""
        return None if math.isinf(self._next) or not self._queues else self._next - time.monotonic()


def _needs_declaring(queue: Queue) -> bool:
    kinds = {exchange.type for exchange, _ in bindings_of(queue)}
    # Other types of exchange are reported by the system checks.
    return kinds <= exchanges.EXCHANGE_TYPES and (bool(queue.exclusive) or kinds != {"direct"})


def _options(queue: Any) -> topology.QueueOptions:  # kombu sets its attributes where mypy does not see it
    arguments = to_rabbitmq_queue_arguments(
        queue.queue_arguments or {},
        expires=queue.expires,
        message_ttl=queue.message_ttl,
        max_length=queue.max_length,
        max_length_bytes=queue.max_length_bytes,
        max_priority=queue.max_priority,
    )
    options = topology.queue_options(
        durable=bool(queue.durable),
        exclusive=bool(queue.exclusive),
        auto_delete=bool(queue.auto_delete),
        arguments=arguments,
    )
    # The queue of a worker that died must not fill up for a day.
    short = is_broadcast(queue) and queue.auto_delete and queue.expires is None
    return replace(options, expires=FORGOTTEN_AFTER) if short else options


def _warn(kind: str, name: str, different: list[str]) -> None:
    if different:
        log_lines.declared_differently(kind, name, different)
