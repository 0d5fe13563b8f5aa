"""The transport: one kombu connection's channels, its lease, and waiting for messages.

Called by ``kombu.Connection``. It opens nothing: the database connection is the
calling thread's own, but for the one that listens while it waits for messages.
"""

from __future__ import annotations

import logging
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

import django
from amqp.exceptions import RecoverableConnectionError  # type: ignore[import-untyped, unused-ignore]
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError, connections
from kombu.exceptions import ChannelError
from kombu.transport import virtual

from .errors import BrokerUnavailable, recoverable

if TYPE_CHECKING:
    from .arrivals import Arrivals
    from .channel import Channel
    from .lease import Lease

logger = logging.getLogger("taskq.transport")

#: Seconds after which a consuming connection that nothing was heard of loses what it holds.
LEASE = 300.0


def alias_in(url: str | None) -> str:
    """Return the alias that a broker URL names, or an empty string for the default."""
    return (url or "").rpartition("://")[2].partition("?")[0].strip("/")


class Transport(virtual.Transport):
    """``transport_options``: ``lease`` in seconds, ``polling_interval`` (the longest, in seconds)."""

    client: Any
    can_parse_url = True
    driver_type = "django"
    driver_name = "django"
    implements = virtual.Transport.implements.extend(
        asynchronous=True, batch_publish=True, exchange_type=frozenset({"direct", "topic", "fanout"})
    )
    connection_errors: Any = (OperationalError, InterfaceError, RecoverableConnectionError)
    channel_errors = (ChannelError,)
    #: What kombu may repeat an operation after; see ``errors``.
    recoverable_connection_errors = (BrokerUnavailable, RecoverableConnectionError)
    recoverable_channel_errors: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)  # type: ignore[no-untyped-call]
        self.exclusive_queues: set[str] = set()
        self._turn = 0
        self._loop: Any = None
        self._loop_fd = -1
        self._timer: Any = None
        self._more = False

    # -- what it is made of

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
    def lease(self) -> Lease:
        """The lease of what this connection's channels hold."""
        from .lease import Lease

        return Lease(self.alias, float(self.client.transport_options.get("lease", LEASE)))

    @cached_property
    def arrivals(self) -> Arrivals:
        """What this connection waits with."""
        from taskq.conf import settings

        from .arrivals import Arrivals

        longest = float(self.client.transport_options.get("polling_interval", 0.2))
        return Arrivals(self.alias, notify=settings.NOTIFY, longest=longest)

    def keep_lease(self) -> None:
        """Renew the lease if that is due; not inside a transaction, which might be rolled back."""
        if not connections[self.alias].in_atomic_block:
            self.lease.keep()

    def consumers_changed(self) -> None:
        """Note in the lease's row from which queues the channels consume."""
        queues = {consumer.queue for channel in self.channels for consumer in channel.consumers.values()}
        if queues:
            self.lease.hold()
        self.lease.consume_from(queues)

    # -- kombu's life cycle

    def establish_connection(self) -> Transport:
        """See that the database answers."""
        with recoverable(self.alias):
            connections[self.alias].ensure_connection()
        return self

    def create_channel(self, connection: Any) -> Channel:
        """Return a new channel."""
        from .channel import Channel

        channel = Channel(self)
        self.channels.append(channel)
        return channel

    def close_connection(self, connection: Any) -> None:
        """Close the channels, delete exclusive queues, leave; what the database refuses now, the lease does later."""
        self.unregister_from_event_loop(connection, None)
        for channel in list(self.channels):
            channel.close()
        self.arrivals.close()
        try:
            self._leave()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Could not give up a lease, it will run out: %s", error)

    def _leave(self) -> None:
        from taskq.store import topology

        with recoverable(self.alias):
            for queue in sorted(self.exclusive_queues):
                topology.delete_queue(queue, self.alias)
            self.exclusive_queues.clear()
            self.lease.leave()

    def verify_connection(self, connection: Any) -> bool:
        """Return true: there is nothing that could have been lost."""
        return True

    def heartbeat_check(self, connection: Any, rate: int = 2) -> None:
        """Renew the lease if that is due."""
        with recoverable(self.alias):
            self.keep_lease()

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return the URL; there is nothing to hide in it."""
        return f"django://{alias_in(uri)}"

    def driver_version(self) -> str:
        """Return Django's version."""
        return django.get_version()

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """Return nothing: everything is in ``DATABASES``."""
        return {}

    # -- receiving

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Hand one message to a consumer; wait for it up to ``timeout`` seconds, then raise ``socket.timeout``."""
        end = None if timeout is None else monotonic() + timeout
        if self._hand_over():
            return
        if timeout != 0:
            self.arrivals.listen()
        while not self._hand_over():
            remaining = None if end is None else end - monotonic()
            if remaining is not None and remaining <= 0:
                raise TimeoutError
            self.arrivals.wait(remaining)
        self.arrivals.found()

    def _hand_over(self) -> bool:
        """Hand over one message; channels take turns."""
        self.heartbeat_check(self)
        for _ in range(len(self.channels)):
            self._turn += 1
            if self.channels[self._turn % len(self.channels)].deliver():
                return True
        return False

    # -- an event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let kombu's ``Hub`` hand messages to the consumers."""
        self.unregister_from_event_loop(connection, loop)
        self._loop, self._more = loop, True
        fd = self.arrivals.listen().fileno()
        if fd >= 0:
            self._loop_fd = fd
            loop.add_reader(fd, self._look)
        self._schedule(0.0)

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """Stop doing that."""
        if self._timer is not None:
            self._timer.cancel()
        if self._loop_fd >= 0:
            self._loop.remove(self._loop_fd)
        self._loop, self._loop_fd, self._timer = None, -1, None

    def _schedule(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._look)

    def _look(self) -> None:
        """Hand over one message if there may be one; come back at once as long as there was."""
        found = False
        try:
            found = (self._more or self.arrivals.due()) and self._hand_over()
        finally:
            self._more = found
            if self._loop is not None:  # a consumer may have closed the connection
                self._schedule(0.0 if found else self.arrivals.pause())
