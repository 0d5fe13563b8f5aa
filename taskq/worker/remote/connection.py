"""Opens kombu connections for remote control and events (``TASKQ_CONTROL_URL``), and names their exchanges and queues.

The worker's thread uses it, and so do all callers.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from taskq.conf import settings

#: Seconds that connecting to the broker may take.
CONNECT_TIMEOUT = 4.0
#: Seconds between two polls of a transport that can't wait.
POLL_INTERVAL = 0.1
#: Seconds between two looks at the mailbox, at least, where the database only says that something has changed.
_REST = 0.1
#: Seconds for which an unused queue of a mailbox, or of replies, is kept. The first is Celery's.
_FORGOTTEN_AFTER, _FORGOTTEN_ON_DATABASE = 10.0, 60.0
#: Seconds for which a command waits for a worker that does not read its mailbox. Celery's.
_KEPT = 300.0


def connect(*, heartbeat: float = 0.0) -> Any:
    """Return a connection, which is not open yet. ``heartbeat`` is in seconds, for brokers that have them."""
    url = settings.CONTROL_URL
    options = dict(settings.BROKER_TRANSPORT_OPTIONS) if url == settings.BROKER_URL else {}
    connection: Any = Connection(url, connect_timeout=CONNECT_TIMEOUT, heartbeat=heartbeat, transport_options=options)
    if not is_asynchronous(connection):
        connection.transport_options.setdefault("polling_interval", POLL_INTERVAL)
    elif url.startswith("django:"):
        connection.transport_options.setdefault("rest", _REST)
    return connection


def is_asynchronous(connection: Any) -> bool:
    """Tell whether an event loop can wait for the connection's messages."""
    return bool(connection.get_transport_cls().implements.asynchronous)


def load_transport() -> None:
    """Import all modules of the transport. If that fails, connecting fails, and says why."""
    with suppress(Exception):
        if connect().get_transport_cls().__module__ == "taskq.transport.transport":
            from taskq.transport import channel, lease, poller  # noqa: F401 - they come with a connection otherwise


def mailbox_exchange() -> Exchange:
    """Return the exchange that carries commands to all workers."""
    return Exchange(f"{settings.NAMESPACE}.pidbox", "fanout", durable=False, delivery_mode="transient")


def mailbox_queue(node: str) -> Queue:
    """Return the queue of one worker's mailbox."""
    return _queue(f"{node}.{settings.NAMESPACE}.pidbox", mailbox_exchange())


def reply_exchange() -> Exchange:
    """Return the exchange that carries replies."""
    return Exchange(f"reply.{settings.NAMESPACE}.pidbox", "direct", durable=False, delivery_mode="transient")


def reply_queue(key: str) -> Queue:
    """Return the queue of the replies to one caller, which is bound by ``key``."""
    return _queue(f"{key}.reply.{settings.NAMESPACE}.pidbox", reply_exchange(), routing_key=key)


def _queue(name: str, exchange: Exchange, **options: Any) -> Queue:
    # A database is not asked every three seconds to keep the queue.
    expires = _FORGOTTEN_ON_DATABASE if settings.CONTROL_URL.startswith("django:") else _FORGOTTEN_AFTER
    return Queue(
        name, exchange, durable=False, exclusive=True, auto_delete=True, expires=expires, message_ttl=_KEPT, **options
    )
