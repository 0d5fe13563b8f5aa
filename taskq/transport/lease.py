"""The lease of a consuming connection: its row among the workers, renewed while it is used.

The messages that its channels hold carry its token. Whatever the connection does renews the
lease, at most three times in the lease's time. If its process dies, a worker or another
consuming connection requeues the messages.

A queue that expires may be deleted under its consumer: its process was frozen for too long. The lease notices,
and the transport cancels the consumer as a broker does.
"""

from __future__ import annotations

import atexit
import os
import socket
import weakref
from collections.abc import Iterable
from contextlib import suppress
from math import inf
from time import monotonic

from django.db import Error

from taskq import processes
from taskq.log_escapes import get_logger
from taskq.store import consuming, peers, recover, topology, workers

logger = get_logger("taskq.transport")

#: Seconds between two updates of the queues' last use, at least.
_SHORTEST = 0.02
#: The leases that this process holds, for its end. Connections that nobody uses any more leave it by themselves.
_held: weakref.WeakSet[ConnectionLease] = weakref.WeakSet()


class ConnectionLease:
    """``seconds`` is how long the connection may show no heartbeat before it is taken for dead."""

    def __init__(self, alias: str, seconds: float) -> None:
        self.alias, self.seconds = alias, seconds
        self.queues: list[str] = []
        self._token, self._pid = "", 0
        self._next_beat = self._next_touch = 0.0
        self._touch_every = inf
        #: Those of the queues that expire without use.
        self._expiring: list[str] = []
        #: Those that were deleted all the same.
        self._gone: list[str] = []
        self._watch = peers.PeerWatch(seconds)
        #: Whether there may be messages with the token.
        self._holds = False

    @property
    def token(self) -> str:
        """The token of this process's connection, or an empty string if it never consumed."""
        return self._token if self._pid == os.getpid() else ""

    def hold(self) -> str:
        """Return the token, for a claim; the first call inserts the connection's row."""
        if not self.token:
            self._register()
        self._holds = True
        return self._token

    def _register(self) -> None:
        pid = os.getpid()
        self._token = workers.register(
            f"kombu{pid}@{socket.gethostname()}",
            host=processes.host_identity(),
            pid=pid,
            process_started=processes.process_started(pid) or 0,
            lease=self.seconds,
            info={"queues": self.queues},
            state=consuming.CONSUMER,
            alias=self.alias,
        )
        self._pid = pid
        _held.add(self)
        self._next_beat = monotonic() + self.seconds / 3

    def consume_from(self, queues: Iterable[str]) -> None:
        """Write the consumed queues to the row; those that expire without use are kept in use."""
        self.queues = sorted(set(queues))
        if self.token:
            workers.heartbeat(self.token, info={"queues": self.queues}, alias=self.alias)
        elif self.queues:
            self._register()
        expiries = topology.expiries(self.queues, self.alias)
        self._expiring, self._gone = sorted(expiries), []
        self._touch_every = max(_SHORTEST, min(expiries.values(), default=inf) / 3)
        self._next_touch = monotonic()

    def keep(self) -> None:
        """Renew the lease, keep the queues in use and recover dead peers, each if it is due."""
        if not self.token:
            return
        if monotonic() >= self._next_touch:
            self._next_touch = monotonic() + self._touch_every
            self._touch()
        if monotonic() >= self._next_beat:
            self._next_beat = monotonic() + self.seconds / 3
            try:
                self._heartbeat()
                topology.sweep(self.alias)
                self._recover_dead_peers()
            except Error:
                self._watch.reset_peers()
                raise

    @property
    def rest(self) -> float:
        """Seconds until ``keep`` has something to do."""
        due = min(self._next_touch, self._next_beat) if self.token else inf
        return max(0.0, due - monotonic())

    def _touch(self) -> None:
        if self._expiring and topology.touch(self._expiring, self.alias) < len(self._expiring):
            self._gone = sorted({*self._expiring} - topology.expiries(self._expiring, self.alias).keys())

    def take_gone(self) -> list[str]:
        """Return the consumed queues that were found to be deleted, until they are consumed from or missed again."""
        gone, self._gone = self._gone, []
        return gone

    def _heartbeat(self) -> None:
        if workers.heartbeat(self._token, alias=self.alias):
            return
        logger.warning(
            "The database %r has given this connection's messages to others: its last heartbeat was %g s ago. "
            "The transport option 'lease' sets how long that may be.",
            self.alias,
            self.seconds,
        )
        self._register()

    def _recover_dead_peers(self) -> None:
        for peer in self._watch.dead(workers.peers(self._token, self.alias)):
            count = recover.recover(peer.token, peer.beats, self.alias)
            if count is not None:
                logger.warning("%s (pid %s) is dead; %s messages that it held went back.", peer.name, peer.pid, count)

    def deregister(self) -> None:
        """Delete the row; the messages that are still held are requeued."""
        if self.token:
            workers.deregister(self._token, self.alias, holds=self._holds)
        self._token = ""
        _held.discard(self)


def leave_to_peers() -> None:
    """Have this process, when it ends, not try to give up the leases of open connections: its database is away."""
    atexit.unregister(_deregister_all)


@atexit.register
def _deregister_all() -> None:
    """Requeue the messages of a program that ends without closing its connections."""
    for lease in list(_held):
        with suppress(Exception):
            lease.deregister()
