"""The transport: one kombu connection's channels, its lease, and waiting for messages.

Called by ``kombu.Connection``. It uses the calling thread's database connection, and opens
one more only to listen for notifications.
"""

from __future__ import annotations

from functools import cached_property
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

import django
from amqp.exceptions import ConsumerCancelled, RecoverableConnectionError  # type: ignore[import-untyped, unused-ignore]
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError, connections
from kombu.exceptions import ChannelError
from kombu.transport import virtual

from taskq.log_escapes import get_logger

from .errors import BrokerUnavailable, recoverable

# Programs without settings import this module: what has models comes when a connection is opened.
if TYPE_CHECKING:
    from .channel import Channel
    from .lease import ConnectionLease
    from .poller import MessagePoller

logger = get_logger("taskq.transport")

#: Seconds without a heartbeat after which a consuming connection loses its messages.
LEASE = 300.0


def alias_in(url: str | None) -> str:
    """Return the alias that a broker URL names, or an empty string for the default."""
    return (url or "").rpartition("://")[2].partition("?")[0].strip("/")


class Transport(virtual.Transport):
    """``transport_options``, in seconds: ``lease``, ``polling_interval`` (the longest), and ``rest``.

    In an event loop, queues are read, and news heard, at most once in ``rest`` seconds: what others do in a busy
    database would keep this connection awake all the time.
    """

    client: Any
    can_parse_url = True
    driver_type = "django"
    driver_name = "django"
    implements = virtual.Transport.implements.extend(
        asynchronous=True, batch_publish=True, exchange_type=frozenset({"direct", "topic", "fanout"})
    )
    connection_errors: Any = (OperationalError, InterfaceError, RecoverableConnectionError)
    channel_errors = (ChannelError,)
    #: The errors after which kombu may repeat an operation; see ``errors``.
    recoverable_connection_errors = (BrokerUnavailable, RecoverableConnectionError)
    recoverable_channel_errors: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)  # type: ignore[no-untyped-call]
        self.exclusive_queues: set[str] = set()
        self._turn = 0
        self._loop: Any = None
        self._resting = False
        self._loop_fd = -1
        self._timer: Any = None
        self._more = False

    # -- parts

    @cached_property
    def alias(self) -> str:
        """The database alias of this connection."""
        from taskq.conf import settings

        alias = alias_in(self.client.hostname) or str(settings.DATABASE)
        if alias not in connections:
            raise ImproperlyConfigured(
                f"django://{alias}: DATABASES has no {alias!r} (TASKQ_BROKER_URL names an alias)."
            )
        return alias

    @cached_property
    def lease(self) -> ConnectionLease:
        """The lease of the messages that this connection's channels hold."""
        from .lease import ConnectionLease

        return ConnectionLease(self.alias, float(self.client.transport_options.get("lease", LEASE)))

    @cached_property
    def poller(self) -> MessagePoller:
        """The object with which this connection waits for messages."""
        from taskq.conf import settings

        from .poller import MessagePoller

        options = self.client.transport_options
        longest, rest = float(options.get("polling_interval", 0.2)), float(options.get("rest", 0.0))
        return MessagePoller(self.alias, self._consumed, notify=settings.NOTIFY, longest=longest, rest=rest)

    def _consumed(self) -> set[str]:
        return {consumer.queue for channel in self.channels for consumer in channel.consumers.values()}

    def keep_lease(self) -> None:
        """Renew the lease if it is due; not inside a transaction, which might be rolled back."""
        if not connections[self.alias].in_atomic_block:
            self.lease.keep()

    def _lease_rests(self) -> float:
        """Return the seconds until ``keep_lease`` has something to do."""
        return inf if connections[self.alias].in_atomic_block else self.lease.rest

    def consumers_changed(self) -> None:
        """Write the queues that the channels consume from to the lease's row."""
        self.lease.consume_from(self._consumed())

    # -- kombu's life cycle. ``connection`` is the Transport that ``establish_connection`` returned. It is not ``self``
    # when kombu, which looks up the method first, has switched to another URL of several while it connected.

    def establish_connection(self) -> Transport:
        """Connect to the database."""
        with recoverable(self.alias):
            connections[self.alias].ensure_connection()
        return self

    def create_channel(self, connection: Transport) -> Channel:
        """Return a new channel."""
        from .channel import Channel

        channel = Channel(connection)
        connection.channels.append(channel)
        return channel

    def close_connection(self, connection: Any) -> None:
        """Close the channels, delete exclusive queues, deregister; if the database fails, the lease runs out."""
        self.unregister_from_event_loop(connection, None)
        for channel in list(self.channels):
            channel.close()
        self.poller.close()
        try:
            self._deregister()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Could not give up a lease, it will run out: %s", error)

    def _deregister(self) -> None:
        from taskq.store import topology

        with recoverable(self.alias):
            for queue in sorted(self.exclusive_queues):
                topology.delete_queue(queue, self.alias)
            self.exclusive_queues.clear()
            self.lease.deregister()

    def verify_connection(self, connection: Any) -> bool:
        """Return true: the connection is the database's, which reconnects by itself."""
        return True

    def heartbeat_check(self, connection: Transport, rate: int = 2) -> None:
        """Renew the lease if it is due. Raises ``ConsumerCancelled`` if a queue is gone that is consumed from.

        This is AMQP's answer to a queue that is deleted under its consumer. kombu's programs connect again then.
        """
        with recoverable(connection.alias):
            connection.keep_lease()
        if gone := connection.lease.take_gone():
            logger.warning("The queues %s are gone: they were not used for so long that they expired.", gone)
            raise ConsumerCancelled(f"the queues {', '.join(gone)} are gone")

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return the URL; it has no password."""
        return f"django://{alias_in(uri)}"

    def driver_version(self) -> str:
        """Return Django's version."""
        return django.get_version()

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """Return an empty dictionary: the parameters are in ``DATABASES``."""
        return {}

    # -- receiving

    def drain_events(self, connection: Transport, timeout: float | None = None, **kwargs: Any) -> None:
        """Hand one message to a consumer. Raises ``socket.timeout`` if none comes within ``timeout`` seconds."""
        connection._drain(timeout)

    def _drain(self, timeout: float | None) -> None:
        end = None if timeout is None else monotonic() + timeout
        if self._hand_over():
            return
        if timeout != 0:
            self.poller.listen()
        while not self._hand_over():
            remaining = None if end is None else end - monotonic()
            if remaining is not None and remaining <= 0:
                raise TimeoutError
            self.poller.wait(min(self._lease_rests(), inf if remaining is None else remaining))
        self.poller.mark_useful()

    def _hand_over(self) -> bool:
        """Hand over one message; channels take turns."""
        self.heartbeat_check(self)
        for _ in range(len(self.channels)):
            self._turn += 1
            if self.channels[self._turn % len(self.channels)].deliver():
                return True
        return False

    # -- an event loop

    def register_with_event_loop(self, connection: Transport, loop: Any) -> None:
        """Have kombu's ``Hub`` hand messages to the consumers."""
        connection._register(loop)

    def _register(self, loop: Any) -> None:
        self.unregister_from_event_loop(self, loop)
        self._loop, self._more = loop, True
        self._schedule(0.0)

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """Undo ``register_with_event_loop``."""
        if self._timer is not None:
            self._timer.cancel()
        self._ignore()
        self._loop, self._timer = None, None

    def _watch(self) -> None:
        """Have the loop tell of news."""
        fd = self.poller.listen().fileno()
        if fd >= 0 and fd != self._loop_fd:
            self._ignore()
            self._loop_fd = fd
            self._loop.add_reader(fd, self._on_news)
        self._resting = False

    def _ignore(self) -> None:
        if self._loop_fd >= 0:
            self._loop.remove(self._loop_fd)
        self._loop_fd = -1

    def _on_news(self) -> None:
        if self.poller.rest:
            self._ignore()
            self._resting = True
        self._poll()

    def _on_time(self) -> None:
        self._watch()
        self._poll()

    def _schedule(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._on_time)

    def _poll(self) -> None:
        """Hand over one message if there may be one; repeat at once as long as there was one."""
        found = False
        try:
            found = (self._more or self.poller.due() or not self._lease_rests()) and self._hand_over()
        finally:
            self._more = found
            if self._loop is not None:  # a consumer may have closed the connection
                pause = self.poller.rest if self._resting else self.poller.pause()
                self._schedule(0.0 if found else min(pause, self._lease_rests()))
