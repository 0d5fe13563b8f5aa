"""The lease of a connection that consumes: its row among the workers, renewed while it works.

What its channels hold carries its token. It is renewed by whatever the connection
does, at most three times a lease; when the process dies, a worker or any other
consuming connection gives back what it held.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import weakref
from collections.abc import Iterable
from contextlib import suppress
from math import inf
from time import monotonic

from taskq import processes
from taskq.store import consuming, recover, topology, workers

logger = logging.getLogger("taskq.transport")


class Lease:
    """``seconds`` is how long nothing may be heard of the connection before it is taken for dead."""

    def __init__(self, alias: str, seconds: float) -> None:
        self.alias, self.seconds = alias, seconds
        self.queues: list[str] = []
        self._token, self._pid = "", 0
        self._next_beat = self._next_touch = 0.0
        self._touch_every = inf
        #: What was last seen of others: their beats, and for how many seconds we saw them unchanged.
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked = monotonic()

    @property
    def token(self) -> str:
        """The token of this process's connection, or an empty string if it never consumed."""
        return self._token if self._pid == os.getpid() else ""

    def hold(self) -> str:
        """Return the token; the connection gets its row with the first."""
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
        atexit.register(_leave_at_exit, weakref.ref(self))
        self._next_beat = monotonic() + self.seconds / 3

    def consume_from(self, queues: Iterable[str]) -> None:
        """Note in the row which queues are consumed; those that expire are kept in use."""
        self.queues = sorted(set(queues))
        expires = topology.shortest_expiry(self.queues, self.alias)
        self._touch_every = (expires or inf) / 3
        self._next_touch = monotonic()
        if self.token:
            workers.beat(self.token, info={"queues": self.queues}, alias=self.alias)

    def keep(self) -> None:
        """Renew the lease if that is due, keep the queues in use, and see to others that are gone."""
        if not self.token:
            return
        if monotonic() >= self._next_touch:
            self._next_touch = monotonic() + self._touch_every
            topology.touch(self.queues, self.alias)
        if monotonic() >= self._next_beat:
            self._next_beat = monotonic() + self.seconds / 3
            self._beat()
            topology.sweep(self.alias)
            self._recover_others()

    def _beat(self) -> None:
        if workers.beat(self._token, alias=self.alias):
            return
        logger.warning(
            "The database %r gave away what this connection held: nothing was heard of it for %g s. "
            "The transport option 'lease' sets how long that may be.",
            self.alias,
            self.seconds,
        )
        self._register()

    def _recover_others(self) -> None:
        """Give back what those held whose heartbeat we have seen unchanged for a whole lease."""
        now, before = monotonic(), self._seen
        gap, self._looked = now - self._looked, now
        self._seen = {}
        for other in workers.others(self._token, self.alias):
            beats, silent = before.get(other.token, (None, 0.0))
            # One look proves little: nobody could beat while the database was away.
            silent = silent + min(gap, other.lease / 2) if beats == other.beats else 0.0
            self._seen[other.token] = (other.beats, silent)
            if silent >= other.lease and recover.recover(other.token, other.beats, self.alias) is not None:
                logger.warning("Gave back what %s held: nothing was heard of it for %g s.", other.name, other.lease)

    def leave(self) -> None:
        """Give up the row; what is still held goes back."""
        if self.token:
            workers.leave(self._token, self.alias)
        self._token = ""


def _leave_at_exit(reference: weakref.ref[Lease]) -> None:
    """Give back what a program holds that ends without closing its connection."""
    lease = reference()
    if lease is not None:
        with suppress(Exception):
            lease.leave()
