"""The database connections of greenlets: each has its own, and there are so many at most.

A thousand tasks that wait for the network would otherwise open a thousand connections, if each of them reads one row. A
greenlet that needs a connection waits for one, and gives it back when its task ends, or when the task closes it.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from taskq.worker import log_lines

#: Seconds after which a wait for a connection is told in the log.
_LONG = 30.0


class BoundConnections:
    """Has each connection of this process that is made from now on wait for one of ``most`` places, by alias."""

    def __init__(self, most: int | None) -> None:
        self._places: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(most or 0))
        if most is not None:
            self._create = connections.create_connection
            connections.create_connection = self._create_bound  # type: ignore[method-assign]

    def give_back(self) -> None:
        """Close the connections of the greenlet that calls this: its task has ended."""
        for connection in connections.all(initialized_only=True):
            try:
                connection.close()
            except Exception as error:  # the driver's, for a connection that is broken
                connection.connection = None
                log_lines.connection_not_closed(connection.alias, error)
            if isinstance(place := vars(connection).get("taskq_place"), _Place):
                place.leave()

    def _create_bound(self, alias: str) -> BaseDatabaseWrapper:
        connection = self._create(alias)
        vars(connection)["taskq_place"] = _Place(connection, self._places[alias])
        return connection


class _Place:
    """The place of one connection among those that may be open; it is taken while the connection is."""

    def __init__(self, connection: BaseDatabaseWrapper, places: threading.Semaphore) -> None:
        self._connection = connection
        self._places = places
        self._taken = False
        self._connect, self._close = connection.connect, connection.close
        vars(connection).update(connect=self.connect, close=self.close)

    def connect(self) -> Any:
        """Wait for a place, and open the connection."""
        if not self._taken:
            while not self._places.acquire(timeout=_LONG):
                log_lines.connections_short(self._connection.alias, _LONG)
            self._taken = True
        try:
            return self._connect()
        except BaseException:
            self.leave()
            raise

    def close(self) -> Any:
        """Close the connection; inside a transaction Django does that later."""
        try:
            return self._close()
        finally:
            if self._connection.connection is None:
                self.leave()

    def leave(self) -> None:
        """Let another connection be opened."""
        if self._taken:
            self._taken = False
            self._places.release()
