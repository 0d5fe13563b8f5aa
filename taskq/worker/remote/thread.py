"""The thread of remote control and events, with a kombu connection and database connections of its own.

It connects again for ever, with growing pauses, and harms nothing else in the worker: every error ends the connection,
or a call, but never the thread. The watchdog does not watch it.
"""

from __future__ import annotations

import random
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from django.db import connections
from kombu.asynchronous import Hub

from taskq.conf import masked_url, settings
from taskq.worker import log_lines
from taskq.worker.call_queue import CallQueue

from .connection import connect
from .link import Link

#: The first and the longest pause between two attempts to connect, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 15.0
#: Seconds after which a connection counts as one that worked: the next pause is the first one again.
_WORKED = 10.0
#: Seconds in which a worker that starts waits for the first connection.
_PATIENCE = 2.0
#: Seconds for which the first connection waits at most, until the worker has claimed its first tasks, and between two
#: looks whether it has.
_BEHIND_TASKS, _LOOK = 1.0, 0.005
#: Seconds between heartbeats of the connection, where the broker has them.
_HEARTBEAT = 30.0


class Part(Protocol):
    """What is registered with the thread, which calls its methods."""

    def connected(self, link: Link) -> None:
        """Declare, consume and set timers on a new connection."""

    def leaving(self, link: Link) -> None:
        """Send the last messages: the worker ends."""


class RemoteThread(threading.Thread):
    """Serves its parts until ``end`` is called.

    ``may_begin`` tells whether the worker has claimed its first tasks: to connect takes the processor as long as that.
    """

    def __init__(self, may_begin: Callable[[], bool] = lambda: True) -> None:
        super().__init__(name="taskq-remote", daemon=True)
        self.calls = CallQueue()
        #: The open connection; for calls on this thread.
        self.link: Link | None = None
        self._may_begin = may_begin
        self._parts: list[Part] = []
        #: Whether it was connected, or could not be.
        self._has_tried = False
        self._created = time.monotonic()
        self._ending = False
        self._pause = _FIRST_PAUSE

    def add(self, part: Part) -> None:
        """Register a part; before the thread starts."""
        self._parts.append(part)

    @property
    def is_needed(self) -> bool:
        """Whether there are parts."""
        return bool(self._parts)

    @property
    def is_settled(self) -> bool:
        """Whether nobody has to wait for the first connection: it is there, or takes long, or is not needed."""
        return self._has_tried or not self._parts or time.monotonic() - self._created > _PATIENCE

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Have ``call(*args)`` made on this thread, connected or not. Any thread may post."""
        self.calls.post(self._guarded, call, *args)

    def end(self, timeout: float) -> None:
        """End the thread; wait for it ``timeout`` seconds at most."""
        self.calls.post(self._end)
        if self.is_alive():
            self.join(timeout)

    def _end(self) -> None:
        self._ending = True

    def _guarded(self, call: Callable[..., object], *args: Any) -> None:
        try:
            call(*args)
        except Exception as error:
            if self.link is not None and isinstance(error, self.link.connection_errors):
                raise
            log_lines.remote_call_failed(error)

    # -- the thread

    def run(self) -> None:
        """The thread's main function."""
        self._let_tasks_begin()
        while not self._ending:
            began = time.monotonic()
            try:
                self._serve()
            except Exception as error:
                self._has_tried = True
                self._pause = _FIRST_PAUSE if time.monotonic() - began > _WORKED else self._pause
                log_lines.remote_disconnected(masked_url(settings.CONTROL_URL), error, self._pause)
                self._wait(self._pause * random.uniform(0.5, 1))
                self._pause = min(_LONGEST_PAUSE, 2 * self._pause)
        connections.close_all()

    def _let_tasks_begin(self) -> None:
        latest = time.monotonic() + _BEHIND_TASKS
        while not (self._ending or self._may_begin() or time.monotonic() > latest):
            self._wait(_LOOK)

    def _serve(self) -> None:
        connection = connect(heartbeat=_HEARTBEAT)
        hub = Hub()
        self.link = Link(connection, hub)
        try:
            self.link.open()
            for part in self._parts:
                part.connected(self.link)
            self._has_tried = True
            log_lines.remote_connected(masked_url(settings.CONTROL_URL))
            hub.add_reader(self.calls.fileno(), self.calls.run)
            while not self._ending:
                hub.run_once()
                self._forget_queries()
            for part in self._parts:
                part.leaving(self.link)
        finally:
            self.link = None
            self._close(connection, hub)

    def _close(self, connection: Any, hub: Hub) -> None:
        with suppress(Exception):
            connection.close()
        with suppress(Exception):
            hub.close()
        with suppress(Exception):
            connections.close_all()

    def _forget_queries(self) -> None:
        # With DEBUG, Django keeps the last 9,000 statements with their parameters.
        for connection in connections.all(initialized_only=True):
            connection.queries_log.clear()

    def _wait(self, seconds: float) -> None:
        """Make the calls that are posted while there is no connection."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.calls.fileno(), select.POLLIN)
        while not self._ending and (left := deadline - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self.calls.run()
