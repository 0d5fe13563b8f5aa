"""The exchange of events, the queues of those who read them, and whether there are any."""

from __future__ import annotations

from typing import Any

from kombu.entity import Exchange, Queue

from taskq.conf import settings
from taskq.ids import new_id
from taskq.store import exchanges

#: Seconds for which a monitor's queue is kept that is not read: workers write events for it meanwhile. Celery's is 60.
_FORGOTTEN_AFTER = 15.0
#: Seconds for which an event waits in it, as Celery's.
_KEPT = 5.0
#: Transports without topics in kombu: the exchange is a fanout there, as Celery's.
_FANOUT_ONLY = frozenset({"redis", "gcpubsub"})


def event_exchange(connection: Any) -> Exchange:
    """Return the exchange of events, as Celery declares it on this connection's broker."""
    kind = "fanout" if connection.transport.driver_type in _FANOUT_ONLY else "topic"
    return Exchange(f"{settings.NAMESPACE}ev", kind, delivery_mode="transient")


def event_queue(connection: Any, routing_key: str = "#") -> Queue:
    """Return a new queue for the events of ``routing_key``, a pattern of topics."""
    return Queue(
        f"{settings.NAMESPACE}ev.{new_id()}",
        event_exchange(connection),
        routing_key=routing_key,
        durable=False,
        auto_delete=True,
        expires=_FORGOTTEN_AFTER,
        message_ttl=_KEPT,
    )


def is_heard(connection: Any, channel: Any) -> bool:
    """Tell whether somebody reads events, as far as the broker says: RabbitMQ drops by itself what nobody reads."""
    exchange = event_exchange(connection)
    if connection.transport.driver_type == "django":
        # A monitor of workers alone is bound to ``worker.#``, one of a project's own events to ``shop.#``.
        return exchanges.has_queue(exchange.name, channel.alias)
    if not hasattr(channel, "get_table"):
        return True
    try:
        return bool(channel.get_table(exchange.name))
    except connection.channel_errors:
        return False
