"""The base of the pools whose children come from a fork server: the pool watches the server, and ends with it.

The worker calls a pool on its loop's thread. ``child_processes`` spawns and replaces children, ``child_connection``
knows the deliveries in one of them, and the fork server forks and kills.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any, ClassVar

from taskq.worker import log_lines

from .base import Pool, PoolEvents, PoolOptions, Unfinished
from .child_processes import ChildProcesses
from .fork_servers import ForkServers
from .fresh import start_fork_server
from .hub import Hub

#: Seconds between two pings of the fork server, and how many may stay without an answer.
_PING_EVERY, _MOST_SILENT = 1.0, 8


class ForkedPool(Pool):
    """Children behind a fork server; ``options.fork_server`` comes from ``forkserver_process.launch``."""

    needs_fork_server: ClassVar[bool] = True
    supports_hard_limit = True
    supports_terminate = supports_grace = True
    supports_recycling = True

    children: ChildProcesses[Any, Any]

    def __init__(self, concurrency: int, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        super().__init__(concurrency, events, hub, options)
        if options.fork_server is None:
            raise ValueError(f"The {self.name} pool needs PoolOptions.fork_server, from forkserver_process.launch().")
        self._server = ForkServers(options.fork_server)
        self._ended = False
        self._frozen = False

    def start(self) -> None:
        """Have the first children forked."""
        self._server.attach(self.hub, self._on_server)
        self.hub.call_later(_PING_EVERY, self._ping)
        self.grow(self.concurrency)

    def stack(self, job: int, tell: Callable[[str], None]) -> None:
        """Have ``tell`` called with the stack, which the child of the job writes."""
        if not self.children.ask_for_stack(job, tell):
            tell("")

    def quiesce(self) -> None:
        """Begin a warm shutdown: children end when their deliveries have an outcome; none is replaced."""
        self.children.quiesce()

    def stop(self, timeout: float = 5.0) -> None:
        """End the children and the fork server, and wait; after ``timeout`` seconds by force."""
        self.quiesce()
        self._wait_for_children(timeout)
        self.kill()

    def kill(self) -> None:
        """Kill all children and end the fork server."""
        if self._ended:
            return
        self.children.kill_all()
        self._wait_for_children(2.0)
        if not self._ended:
            self._end_server()

    def unfinished(self) -> list[Unfinished]:
        """Return the deliveries without an outcome."""
        return self.children.unfinished()

    def restart(self, *, reload: bool = False) -> None:
        """Replace the children, each when its tasks have ended; with ``reload`` the new ones import the code anew.

        Raises ``ValueError`` if the pool is being restarted already, or can't be.
        """
        if not reload:
            self.children.renew(starting=False)
        elif self._server.starting is not None:
            raise ValueError("the pool is being restarted already")
        elif self.options.interpreter is None:
            raise ValueError("this pool has no code to load")
        else:
            self._server.replace(start_fork_server(self.options.interpreter))
            log_lines.pool_restarting()

    def _finish_restart(self) -> None:
        if self._server.started():
            log_lines.pool_restarted()
            self.children.renew(starting=True)
        elif (status := self._server.not_started()) is not None and not self._ended:
            log_lines.pool_not_restarted(status)

    def _ping(self) -> None:
        """Watch the fork server as the children are watched: kill it if it is frozen, which breaks the pool."""
        self._on_server()
        if self._ended:
            return
        if self._server.ping() > _MOST_SILENT:
            self._frozen = True
            log_lines.fork_server_frozen(_PING_EVERY * _MOST_SILENT)
            self._server.kill_silent(_MOST_SILENT)
        else:
            self.hub.call_later(_PING_EVERY, self._ping)

    def _on_server(self) -> None:
        for kind, payload in self._server.receive():
            self.children.on_server_message(kind, payload)
        self._finish_restart()
        if self._server.gone and not self._ended:
            wanted = self.children.killing
            status = self._end_server()
            if not wanted:
                how = "did not answer and was killed" if self._frozen else f"ended with {status}"
                self.events.broken(f"The fork server {how}: the pool has lost its children.")

    def _end_server(self) -> str:
        """End the fork server and the remaining children with it; handle their last frames."""
        self._ended = True
        self.children.closing = self.children.killing = True
        status = self._server.end()
        self.children.reap_killed(time.monotonic() + 1.0)
        return status

    def _wait_for_children(self, timeout: float) -> None:
        """Handle frames without the loop until all children have ended; ``PoolEvents`` are still called."""
        deadline = time.monotonic() + timeout
        while not self._ended and self.children.living:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._wait_once(left)

    def _wait_once(self, timeout: float) -> None:
        poll = select.poll()
        for fd in self._server.filenos():
            poll.register(fd, select.POLLIN)
        connected = [(slot, child) for slot, child in self.children.living if child.connection.readable]
        for _, child in connected:
            poll.register(child.connection.fileno(), select.POLLIN)
            child.connection.flush()
        if not poll.poll(timeout * 1000):
            return
        for slot, child in connected:
            self.children.on_readable(slot, child)
        self._on_server()
