"""The lease of a consuming connection: its row among the workers, renewed while it is used.

The messages that its channels hold carry its token. Whatever the connection does renews the
lease, at most three times in the lease's time. If its process dies, a worker or another
consuming connection requeues the messages.
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


class ConnectionLease:
    """``seconds`` is how long the connection may show no heartbeat before it is taken for dead."""

    def __init__(self, alias: str, seconds: float) -> None:
        self.alias, self.seconds = alias, seconds
        self.queues: list[str] = []
        self._token, self._pid = "", 0
        self._next_beat = self._next_touch = 0.0
        self._touch_every = inf
        self._watch = peers.PeerWatch(seconds)

    @property
    def token(self) -> str:
        """The token of this process's connection, or an empty string if it never consumed."""
        return self._token if self._pid == os.getpid() else ""

    def hold(self) -> str:
        """Return the token; the first call inserts the connection's row."""
        if not self.token:
            self._register()
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
        atexit.register(_deregister_at_exit, weakref.ref(self))
        self._next_beat = monotonic() + self.seconds / 3

    def consume_from(self, queues: Iterable[str]) -> None:
        """Write the consumed queues to the row; those that expire without use are kept in use."""
        self.queues = sorted(set(queues))
        expires = topology.shortest_expiry(self.queues, self.alias)
        self._touch_every = (expires or inf) / 3
        self._next_touch = monotonic()
        if self.token:
            workers.heartbeat(self.token, info={"queues": self.queues}, alias=self.alias)

    def keep(self) -> None:
        """Renew the lease, keep the queues in use and recover dead peers, each if it is due."""
        if not self.token:
            return
        if monotonic() >= self._next_touch:
            self._next_touch = monotonic() + self._touch_every
            topology.touch(self.queues, self.alias)
        if monotonic() >= self._next_beat:
            self._next_beat = monotonic() + self.seconds / 3
            try:
                self._heartbeat()
                topology.sweep(self.alias)
                self._recover_dead_peers()
            except Error:
                self._watch.reset_peers()
                raise

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
            workers.deregister(self._token, self.alias)
        self._token = ""


def leave_to_peers() -> None:
    """Have this process, when it ends, not try to give up the leases of open connections: its database is away."""
    atexit.unregister(_deregister_at_exit)


def _deregister_at_exit(reference: weakref.ref[ConnectionLease]) -> None:
    """Requeue the messages of a program that ends without closing its connection."""
    lease = reference()
    if lease is not None:
        with suppress(Exception):
            lease.deregister()
