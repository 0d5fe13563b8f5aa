"""``Link``: one open connection of the thread, as the parts use it. It ends with the connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kombu.asynchronous import Hub
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer, Producer

from .connection import POLL_INTERVAL, is_asynchronous

#: Seconds to wait for a message of a transport that can't wait.
_SHORT = 0.001


class Link:
    """A connection and the loop that waits for it. Used on the thread alone."""

    def __init__(self, connection: Any, hub: Hub) -> None:
        self.connection = connection
        self.hub = hub
        self._producer: Any = None
        self._consumers: list[Any] = []

    def open(self) -> None:
        """Connect, and have the loop wait for messages."""
        self.connection.connect()
        self.hub.propagate_errors = self.connection.connection_errors
        if not is_asynchronous(self.connection):
            self.hub.call_repeatedly(POLL_INTERVAL, self._drain)
            return
        self.connection.register_with_event_loop(self.hub)
        if self.connection.heartbeat and self.connection.supports_heartbeats:
            self.every(self.connection.heartbeat / 4, self.connection.heartbeat_check)

    def consume(self, queue: Queue, on_message: Callable[[Any], None]) -> None:
        """Declare a queue, and call ``on_message`` with each of its messages, which need no acknowledgement."""
        consumer: Any = Consumer(self.connection.channel(), [queue], no_ack=True, on_message=on_message)
        consumer.consume()
        self._consumers.append(consumer)

    def publish(
        self,
        body: Any,
        exchange: Exchange,
        routing_key: str = "",
        *,
        headers: dict[str, Any] | None = None,
        declare: Sequence[Any] = (),
    ) -> None:
        """Send ``body`` as JSON. Raises the transport's errors; the next message gets a new channel then."""
        if self._producer is None:
            self._producer = Producer(self.connection.channel(), auto_declare=False)
        try:
            self._producer.publish(
                body,
                exchange=exchange.name,
                routing_key=routing_key,
                headers=headers,
                declare=list(declare),
                delivery_mode=exchange.delivery_mode,
                serializer="json",
                retry=False,
            )
        except self.connection.channel_errors:
            self._producer = None
            raise

    def every(self, seconds: float, call: Callable[[], object]) -> None:
        """Call regularly while the connection lasts."""
        self.hub.call_repeatedly(seconds, call)

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Call once, if the connection lasts so long."""
        self.hub.call_later(seconds, call)

    def _drain(self) -> None:
        try:
            while True:
                self.connection.drain_events(timeout=_SHORT)
        except TimeoutError:
            pass
