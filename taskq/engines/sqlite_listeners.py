"""SQLite has no notifications, but a number that tells of commits: ``PRAGMA data_version``. Asking takes microseconds.

It changes with each commit of another connection than the one that asks.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Collection
from typing import Any

from django.db import connections

from .inotify import Watch
from .listeners import Listener
from .marks import mark

#: Seconds between two questions: for a while after the file was written, and otherwise.
_AWAKE, _ASLEEP, _UNWATCHED = 0.001, 0.05, 0.0025
#: Seconds from a write to the log until its commit can be seen, at most: there may be an fsync between.
_COMMIT = 0.1


class SqliteListener(Listener):
    """Sees each commit, by a connection of its own.

    Linux says when the write-ahead log is written, and then it is asked more often,
    because what is written can be read only a little later. Elsewhere it is asked all
    the time.
    """

    direct = True

    def __init__(self, alias: str) -> None:
        self._wrapper: Any = connections[alias]
        self._awake_until = 0.0
        self._watch: Watch | None = None
        self._attach()

    def _attach(self) -> None:
        # Callers expect Django's errors, by which they wait for the database to come back.
        with self._wrapper.wrap_database_errors:
            connection = self._connect()
            self._version = _version(connection)
            self._watch = _watch(connection)
        # Last: if one of these fails, the next call of ``poll`` attaches again.
        self._connection = connection

    def _connect(self) -> Any:
        name = self._wrapper.get_connection_params()["database"]
        return sqlite3.connect(
            name, timeout=0.1, isolation_level=None, check_same_thread=False, uri=str(name).startswith("file:")
        )

    @property
    def interval(self) -> float:  # type: ignore[override]
        """Seconds after which to ask again."""
        if self._watch is None:
            return _UNWATCHED
        return _AWAKE if time.monotonic() < self._awake_until else _ASLEEP

    def fileno(self) -> int:
        """Return the descriptor of the watch, if there is one."""
        return -1 if self._watch is None else self._watch.fileno()

    def poll(self) -> set[str] | None:
        """Return ``None`` if another connection has committed since the last call."""
        if self._watch is not None and self._watch.take():
            self._awake_until = time.monotonic() + _COMMIT
        with self._wrapper.wrap_database_errors:
            version = _version(self._connection)
        if version == self._version:
            return set()
        self._version = version
        return None

    def _end_watch(self) -> None:
        # Never twice: by then another file may have the descriptor's number.
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def close(self) -> None:
        """Close the connection and the watch."""
        self._end_watch()
        self._connection.close()


def _version(connection: Any) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _watch(connection: Any) -> Watch | None:
    """Return a watch on the database's files, or ``None`` where there is none, as for one in memory."""
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    try:
        # The log is there as long as this connection is: it has read.
        return Watch([f"{path}-wal"]) if path else None
    except OSError:
        return None


#: The marks of what the store thread's own transactions have notified of. Other threads have none.
_own = threading.local()


def note_own(names: Collection[str]) -> None:
    """Have the listener of the calling thread, if it has a ``StoreThreadListener``, tell of ``names``."""
    if (marks := getattr(_own, "marks", None)) is not None:
        marks.update(map(mark, names))


class StoreThreadListener(SqliteListener):
    """Sees each commit of others, by the connection of the calling thread: a worker's store thread.

    That thread commits hundreds of times a second while tasks end. Of these commits it hears only what ``note_own``
    was told.
    """

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        _own.marks = set()

    def _connect(self) -> Any:
        self._wrapper.ensure_connection()
        return self._wrapper.connection

    def poll(self) -> set[str] | None:
        """Return ``None`` if another connection has committed since the last call, else the marks of own messages."""
        heard: set[str] | None = None
        if self._wrapper.connection is self._connection:
            heard = super().poll()
        else:
            # A new connection, whose number says nothing of commits before it. Its log may be another file, too.
            self._end_watch()
            self._attach()
        # Only now: after an error they are still to be told.
        own, _own.marks = _own.marks, set()
        return None if heard is None else own

    def close(self) -> None:
        """Close the watch; the connection is the thread's."""
        self._end_watch()
        _own.__dict__.clear()
