"""``Link``: one open connection of the thread, as the parts use it. It ends with the connection."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer, Producer

from taskq.worker import log_lines

from .connection import POLL_INTERVAL, is_asynchronous

if TYPE_CHECKING:
    # Callers load this module too, and have no loop.
    from kombu.asynchronous import Hub

#: Seconds to wait for a message of a transport that can't wait.
_SHORT = 0.001
#: Where py-amqp has the headers of a message.
_AMQP = "application_headers"
#: How kombu sends a body that is JSON text, and any other.
_JSON_TEXT = {"content_type": "application/json", "content_encoding": "utf-8"}
_AS_JSON = {"serializer": "json"}
#: The most messages of an earlier process that are looked at, one by one. More of them are purged.
_MOST_OLD = 10_000


class Link:
    """A connection and the loop that waits for it. Used on the thread alone."""

    def __init__(self, connection: Any, hub: Hub) -> None:
        self.connection = connection
        self.hub = hub
        self._producer: Any = None
        #: The exchanges that the producer's channel has declared.
        self._declared: set[str] = set()
        self._consumers: list[Any] = []

    @property
    def connection_errors(self) -> tuple[type[BaseException], ...]:
        """The errors after which this connection is of no use any more."""
        # That is among the errors of kombu's Redis transport, and an error of a call here.
        return tuple(error for error in self.connection.connection_errors if error is not KeyError)

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

    def consume(
        self, queue: Queue, on_message: Callable[[Any], None], on_old: Callable[[Any], None] | None = None
    ) -> None:
        """Declare a queue, and call ``on_message`` with each of its messages, which need no acknowledgement.

        ``on_old`` gets those that wait already instead, before this returns. They were sent to an earlier process.
        """
        channel = unopened(self.connection.channel())
        declared = queue(channel)
        declared.declare()
        if on_old is not None:
            self._take_old(declared, on_old)
        consumer: Any = Consumer(
            channel, [declared], no_ack=True, auto_declare=False, on_message=on_message, on_decode_error=_skip
        )
        consumer.consume()
        self._consumers.append(consumer)

    def _take_old(self, queue: Queue, on_old: Callable[[Any], None]) -> None:
        for _ in range(_MOST_OLD):
            try:
                message = queue.get(no_ack=True)
            except (*self.connection_errors, *self.connection.channel_errors):
                raise
            except Exception as error:
                log_lines.remote_message_unreadable(error)
                continue
            if message is None:
                return
            on_old(message)
        queue.purge()

    def publish(
        self,
        body: Any,
        exchange: Exchange,
        routing_key: str = "",
        *,
        headers: dict[str, Any] | None = None,
        encoded: bool = False,
    ) -> None:
        """Send ``body`` as JSON, which it is if ``encoded``; declare the exchange before the first message.

        Raises the transport's errors. After an error of the channel the next message gets a new one.
        """
        try:
            producer = self._opened_producer(exchange)
            producer.publish(
                body,
                exchange=exchange.name,
                routing_key=routing_key,
                headers=headers,
                delivery_mode=exchange.delivery_mode,
                retry=False,
                **(_JSON_TEXT if encoded else _AS_JSON),
            )
        except Exception as error:
            if not isinstance(error, self.connection_errors):
                self._close_producer()
            raise

    def _opened_producer(self, exchange: Exchange) -> Any:
        if self._producer is None:
            self._producer = Producer(self.connection.channel(), auto_declare=False)
        if exchange.name not in self._declared:
            exchange(self._producer.channel).declare()
            self._declared.add(exchange.name)
        return self._producer

    def _close_producer(self) -> None:
        # A broker closes a channel after an error, and may have closed it half way through a message.
        producer, self._producer = self._producer, None
        self._declared.clear()
        if producer is not None:
            with suppress(Exception):
                producer.channel.close()

    def every(self, seconds: float, call: Callable[[], object]) -> None:
        """Call regularly while the connection lasts."""
        self.hub.call_repeatedly(seconds, call)

    def after(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        """Call once, if the connection lasts so long; return a function that cancels the call."""
        entry = self.hub.call_later(seconds, call)

        def cancel() -> None:
            entry.cancel()
            # The hub keeps a cancelled entry until it would have been due: it is to hold nothing.
            entry.fun = _nothing

        return cancel

    def _drain(self) -> None:
        try:
            while True:
                self.connection.drain_events(timeout=_SHORT)
        except TimeoutError:
            pass


def unopened(channel: Any) -> Any:
    """Have a channel hand over compressed messages as they are, and return it.

    kombu opens them before anybody is asked, however large they become. Commands are not compressed. What comes over
    ``django://`` is opened up to ``TASKQ_MAX_MESSAGE_SIZE``.
    """
    kind = channel.Message

    class Unopened(kind):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            _headers(args[0] if args else kwargs.get("payload")).pop("compression", None)
            super().__init__(*args, **kwargs)

    channel.Message = Unopened
    return channel


def _headers(raw: Any) -> dict[str, Any]:
    """Return the headers of a message as kombu gets it: an object of AMQP, else a dictionary."""
    properties = getattr(raw, "properties", None)
    found = raw.get("headers") if isinstance(raw, dict) else isinstance(properties, dict) and properties.get(_AMQP)
    return found if isinstance(found, dict) else {}


def _skip(message: Any, error: Exception) -> None:
    log_lines.remote_message_unreadable(error)


def _nothing() -> None:
    """Take the place of a call that was cancelled."""
