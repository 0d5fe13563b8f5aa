"""The channel's first half: exchanges, queues and bindings are declared and deleted.

Declarations are rows, the same for all processes; nothing is kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from amqp.exceptions import RecoverableConnectionError  # type: ignore[import-untyped, unused-ignore]
from amqp.protocol import queue_declare_ok_t  # type: ignore[import-untyped, unused-ignore]
from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments
from kombu.utils.uuid import uuid

from taskq.store import consuming, exchanges, topology

from .errors import failed, not_found, otherwise, recoverable

#: The longest name of a queue or an exchange, and the longest routing key, in characters.
LONGEST = 255

P = ParamSpec("P")
R = TypeVar("R")


class EntityChannel(virtual.Channel):
    """A channel's methods for entities, and ``_do``, which runs every operation."""

    connection: Any  # Transport, or None once the channel is closed

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)  # type: ignore[no-untyped-call]
        self.alias: str = connection.alias

    def _do(self, operation: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an operation of the store; renew the connection's lease before it if that is due."""
        self._check_open()
        with recoverable(self.alias):
            self.connection.keep_lease()
            return operation(*args, **kwargs)

    def _check_open(self) -> None:
        if self.connection is None:
            raise RecoverableConnectionError("the channel is closed")

    # -- exchanges

    def exchange_declare(
        self,
        exchange: str | None = None,
        type: str | None = "direct",
        durable: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
        nowait: bool = False,
        passive: bool = False,
    ) -> None:
        """Declare an exchange; with ``passive`` only see whether it exists.

        Raises ``ChannelError`` if it exists with other options, with ``passive`` if it does not exist.
        """
        kind = type or "direct"
        name = exchange or f"amq.{kind}"
        _check_length("exchange", name, name, "exchange_declare")
        if passive:
            if not self._do(exchanges.exchange_exists, name, self.alias):
                raise not_found("exchange", name, "exchange_declare")
            return
        if kind not in exchanges.EXCHANGE_TYPES:
            raise failed(
                "exchange", name, f"can't be of type {kind!r}: there is direct, topic, fanout", "exchange_declare"
            )
        different = self._do(
            topology.declare_exchange,
            name,
            kind,
            durable=durable,
            auto_delete=auto_delete,
            arguments=arguments,
            alias=self.alias,
        )
        if different:
            raise failed("exchange", name, otherwise(different), "exchange_declare")

    def exchange_delete(self, exchange: str, if_unused: bool = False, nowait: bool = False) -> None:
        """Delete an exchange and its bindings; queues stay."""
        if if_unused and self._do(topology.has_bindings, exchange, self.alias):
            raise failed("exchange", exchange, "is in use", "exchange_delete")
        self._do(topology.delete_exchange, exchange, self.alias)

    def get_exchanges(self) -> list[str]:
        """Return the names of the declared exchanges."""
        return self._do(topology.exchanges, self.alias)

    # -- queues

    def prepare_queue_arguments(self, arguments: Mapping[str, Any], **kwargs: Any) -> Mapping[str, Any]:
        """Return kombu's options of a queue (seconds) as the arguments that RabbitMQ knows (milliseconds)."""
        prepared: Mapping[str, Any] = to_rabbitmq_queue_arguments(arguments, **kwargs)
        return prepared

    def queue_declare(self, queue: str | None = None, passive: bool = False, **options: Any) -> queue_declare_ok_t:
        """Declare a queue; return its name, its number of waiting messages and its number of consumers."""
        name = queue or f"amq.gen-{uuid()}"
        _check_length("queue", name, name, "queue_declare")
        if passive:
            if not self._do(topology.queue_exists, name, self.alias):
                raise not_found("queue", name, "queue_declare")
        else:
            declared = self._do(topology.declare_queue, name, topology.queue_options(**options), self.alias)
            if declared.different:
                raise failed("queue", name, otherwise(declared.different), "queue_declare")
            if options.get("exclusive"):
                self.connection.exclusive_queues.add(name)
                if declared.made:
                    # Nobody else sends to it or reads it: each statement less is a moment less that a caller waits.
                    return queue_declare_ok_t(name, 0, 0)
        return queue_declare_ok_t(name, self._size(name), self._do(consuming.consumers, name, self.alias))

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> int:
        """Delete a queue, its bindings and its waiting messages; return how many messages they were."""
        if if_unused and self._consumed(queue):
            raise failed("queue", queue, "is in use", "queue_delete")
        if if_empty and self._size(queue):
            raise failed("queue", queue, "is not empty", "queue_delete")
        count = self._do(topology.delete_queue, queue, self.alias)
        # Not once more when the connection closes.
        self.connection.exclusive_queues.discard(queue)
        return count

    def queue_bind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Bind a queue to a declared exchange."""
        name = exchange or "amq.direct"
        for text in (queue, name, routing_key or ""):
            _check_length("queue", queue, text, "queue_bind")
        if not self._do(exchanges.exchange_exists, name, self.alias):
            raise not_found("exchange", name, "queue_bind")
        self._do(topology.bind, queue, name, routing_key or "", self.alias)

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Delete a binding."""
        self._do(topology.unbind, queue, exchange or "amq.direct", routing_key or "", self.alias)

    def list_bindings(self) -> list[tuple[str, str, str]]:
        """Return all bindings as (queue, exchange, routing key)."""
        return self._do(topology.bindings, self.alias)

    def get_table(self, exchange: str) -> list[tuple[str, None, str]]:
        """Return an exchange's bindings as (routing key, ``None``, queue)."""
        return [(key, None, queue) for queue, _, key in self._do(topology.bindings, self.alias, exchange)]

    def _size(self, queue: str) -> int:
        return self._do(consuming.count, queue, self.alias)

    def _purge(self, queue: str) -> int:
        return self._do(consuming.purge, queue, self.alias)

    def after_reply_message_received(self, queue: str) -> None:
        """Delete the queue of a reply that was received."""
        self.queue_delete(queue)

    def _consumed(self, queue: str) -> bool:
        return bool(self._do(consuming.consumers, queue, self.alias))


def _check_length(kind: str, name: str, text: str, method: str) -> None:
    """Raise AMQP's error 406 for a name that is too long for its column: databases differ in what they do then."""
    if len(text) > LONGEST:
        raise failed(kind, f"{name:.40}...", f"has a name or key of {len(text)} characters: at most {LONGEST}", method)
