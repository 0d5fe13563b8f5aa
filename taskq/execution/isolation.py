"""Each task starts clean: context variables, language, time zone, queries, connections, caches, and the process.

Called around every run in a worker, never around eager runs, which share all of that with their
caller. A connection is closed only when Django would close it after a request, or if it is not idle.
"""

from __future__ import annotations

import contextvars
import threading
from contextlib import suppress
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from taskq.engines import sessions
from taskq.handover import Delivery

from . import log_lines
from .leftovers import Baseline

#: The backends of caches that hold no connection. A task that uses such a cache makes it in some microseconds.
_WITHOUT_CONNECTION = {
    f"django.core.cache.backends.{name}"
    for name in ("db.DatabaseCache", "dummy.DummyCache", "filebased.FileBasedCache", "locmem.LocMemCache")
}
# State of a thread between runs. After a fork the other threads and their state are gone.
_thread = threading.local()


def fresh_context() -> contextvars.Context:
    """Return a context without language, time zone or variables of the last task.

    It has the thread's caches that connect: Django keeps them in context variables too, and each task would connect
    anew.
    """
    try:
        base: contextvars.Context = _thread.base
    except AttributeError:
        base = _thread.base = contextvars.Context()
        _thread.caches = base.run(_open_caches)
    return base.copy()


class Seat:
    """The caches that connect, for one of the runs that share a thread; those of other threads: ``fresh_context``."""

    def __init__(self) -> None:
        self._base = contextvars.Context()
        self._caches = self._base.run(_open_caches)

    def context(self) -> contextvars.Context:
        """Return a context for the next run."""
        return self._base.copy()

    def tidy(self) -> None:
        """Close the caches after a run."""
        for cache in self._caches:
            cache.close()


def _open_caches() -> list[BaseCache]:
    """Create this thread's caches that connect; return those with a ``close`` to call after each task."""
    opened: list[Any] = []
    for alias, options in caches.settings.items():
        try:
            if options["BACKEND"] not in _WITHOUT_CONNECTION:
                opened.append(caches[alias])
        except Exception as error:  # any error of its library; a task that uses the cache gets it too
            log_lines.cache_failed(alias, error)
    return [cache for cache in opened if type(cache).close is not BaseCache.close]


def watch_process(*, restore: bool = True) -> None:
    """Have the state of this process restored after each task: it runs one task at a time, in this thread.

    Without ``restore``, only connections and caches are tidied up.
    """
    _thread.baseline = Baseline.of_process() if restore else Baseline(())
    _thread.left_open = tidy_connections()


def forget() -> None:
    """Forget the baseline and the caches of this thread: processes that are forked now make their own."""
    _thread.__dict__.clear()


def is_clean() -> bool:
    """Tell whether all that tasks have changed in this thread, or in its watched process, could be restored."""
    baseline: Baseline | None = getattr(_thread, "baseline", None)
    return baseline is None or baseline.clean


def when_idle() -> None:
    """Restore the states that the last tasks of this thread have changed, before it waits for the next one."""
    baseline: Baseline | None = getattr(_thread, "baseline", None)
    if baseline is not None:
        baseline.restore()


def before_task(delivery: Delivery) -> None:
    """Restore the states that another task has changed before, and close connections that have become unusable."""
    if not hasattr(_thread, "baseline"):
        _thread.baseline = Baseline.of_thread()
        tidy_connections()
        return
    _thread.baseline.before(delivery)
    if getattr(_thread, "left_open", True):
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()


def after_task(delivery: Delivery) -> None:
    """Restore the state that the task has changed, and close or reset its connections and caches."""
    _thread.baseline.after(delivery)
    _thread.left_open = tidy_connections(delivery)
    for cache in getattr(_thread, "caches", ()):
        cache.close()


def tidy_connections(delivery: Delivery | None = None) -> bool:
    """Reset this thread's connections for the next task; tell whether a connection is still open."""
    still_open = False
    for connection in connections.all(initialized_only=True):
        connection.queries_log.clear()
        if connection.in_atomic_block or (connection.connection is not None and _is_in_transaction(connection)):
            if connection.settings_dict["AUTOCOMMIT"]:
                log_lines.transaction_left_open(delivery, connection.alias)
            _abandon_transaction(connection)
        connection.close_if_unusable_or_obsolete()
        still_open = still_open or connection.connection is not None
    return still_open


def _is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    try:
        return sessions.in_transaction(connection)
    except Exception:  # the driver's: the connection is broken, or a result was not read to its end
        with suppress(Exception):
            connection.close()
        connection.connection = None
        return False


def _abandon_transaction(connection: BaseDatabaseWrapper) -> None:
    """Roll back a transaction that a task left open, and close its connection."""
    raw: Any = connection.connection
    connection.in_atomic_block = connection.closed_in_transaction = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
    if raw is None:
        return
    with suppress(Exception):
        raw.rollback()
    try:
        connection.close()
    except Exception:  # the driver's, for a connection that the task has closed
        connection.connection = None
    if connection.connection is not None:
        # Django never closes a database in memory.
        connection.set_autocommit(connection.settings_dict["AUTOCOMMIT"])
