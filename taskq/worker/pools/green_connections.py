"""The database connections of greenlets: each has its own, and there are so many at most.

A thousand tasks that wait for the network would otherwise open a thousand connections, if each of them reads one row. A
greenlet that needs a connection waits for one, and gives it back when its task ends, or when the task closes it. A
greenlet that a task has started gives nothing back: its connections are found when they are collected as garbage.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import defaultdict, deque
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from taskq.worker import log_lines

#: Seconds after which a wait for a connection is told in the log.
_LONG = 30.0
#: Seconds between two looks for connections whose greenlets have ended, while a greenlet waits for a place.
_LOOK_EVERY = 1.0


class BoundConnections:
    """Has each connection of this process that is made from now on wait for one of ``most`` places, by alias."""

    def __init__(self, most: int | None) -> None:
        self._places: dict[str, _Places] = defaultdict(lambda: _Places(most or 0))
        if most is not None:
            self._create = connections.create_connection
            connections.create_connection = self._create_bound  # type: ignore[method-assign]

    def give_back(self) -> None:
        """Close the connections of the greenlet that calls this: its task has ended."""
        for connection in connections.all(initialized_only=True):
            try:
                connection.close()
            except BaseException as error:  # the driver's, for one that is broken, or raised by a timer of the task
                connection.connection = None
                if isinstance(error, Exception):
                    log_lines.connection_not_closed(connection.alias, error)
            if isinstance(bound := vars(connection).get("taskq_place"), _Bound):
                bound.place.leave()

    def _create_bound(self, alias: str) -> BaseDatabaseWrapper:
        connection = self._create(alias)
        vars(connection)["taskq_place"] = _Bound(connection, self._places[alias])
        return connection


class _Places:
    """The places of one alias. Those of connections that nobody has closed come back with the next look."""

    def __init__(self, most: int) -> None:
        self._free = threading.Semaphore(most)
        #: One item for each place whose connection was collected. A collection can begin while this thread holds the
        #: lock of the semaphore, which must not be taken again then.
        self._abandoned: deque[None] = deque()
        self._looked = 0.0

    def enter(self, alias: str) -> None:
        """Wait for a place."""
        began = told = time.monotonic()
        while True:
            self._reclaim()
            if self._free.acquire(blocking=False) or self._free.acquire(timeout=_LOOK_EVERY):
                return
            now = time.monotonic()
            if now - told >= _LONG:
                told = now
                log_lines.connections_short(alias, now - began)
            self._look(now)

    def leave(self) -> None:
        """Have a place taken by another."""
        self._free.release()

    def abandon(self) -> None:
        """Note that a connection was collected as garbage: here nothing may wait."""
        self._abandoned.append(None)

    def _look(self, now: float) -> None:
        """Collect the connections of greenlets that have ended: a connection of Django refers to itself."""
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            gc.collect()

    def _reclaim(self) -> None:
        while self._abandoned:
            self._abandoned.pop()
            self._free.release()


class _Place:
    """The place of one connection, to which this does not refer: it is taken while the connection is open."""

    def __init__(self, places: _Places) -> None:
        self._places = places
        self._taken = False

    def enter(self, alias: str) -> None:
        """Wait for the place, unless it is taken."""
        if not self._taken:
            self._places.enter(alias)
            self._taken = True

    def leave(self) -> None:
        """Let another connection be opened."""
        if self._taken:
            self._taken = False
            self._places.leave()

    def abandon(self) -> None:
        """The connection was collected: let another one be opened."""
        if self._taken:
            self._taken = False
            self._places.abandon()


class _Bound:
    """Has one connection take its place when it is opened, and leave it when it is closed."""

    def __init__(self, connection: BaseDatabaseWrapper, places: _Places) -> None:
        self._connection = connection
        self.place = _Place(places)
        self._connect, self._close = connection.connect, connection.close
        vars(connection).update(connect=self.connect, close=self.close)
        weakref.finalize(connection, self.place.abandon).atexit = False

    def connect(self) -> Any:
        """Wait for a place, and open the connection."""
        self.place.enter(self._connection.alias)
        try:
            return self._connect()
        except BaseException:
            self.place.leave()
            raise

    def close(self) -> Any:
        """Close the connection; inside a transaction Django does that later."""
        try:
            return self._close()
        finally:
            if self._connection.connection is None:
                self.place.leave()
