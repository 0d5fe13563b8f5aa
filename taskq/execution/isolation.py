"""Each task starts clean: context variables, language, time zone, queries, connections and caches.

Called around every run in a worker, never around eager runs, which share all of that with their
caller. A connection is closed only when Django would close it after a request.
"""

from __future__ import annotations

import contextvars
import threading
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from . import log_lines

# State of a thread between runs. After a fork the other threads and their state are gone.
_thread = threading.local()


def fresh_context() -> contextvars.Context:
    """Return a context without language, time zone or variables of the last task.

    It has the thread's caches: Django keeps them in context variables too, and each task would connect anew.
    """
    try:
        base: contextvars.Context = _thread.base
    except AttributeError:
        base = _thread.base = contextvars.Context()
        _thread.caches = base.run(_open_caches)
    return base.copy()


def _open_caches() -> list[BaseCache]:
    """Create this thread's caches; return those with a ``close`` to call after each task."""
    opened: list[Any] = []
    for alias in caches:
        try:
            opened.append(caches[alias])
        except Exception as error:  # any error of its library; a task that uses the cache gets it too
            log_lines.cache_failed(alias, error)
    return [cache for cache in opened if type(cache).close is not BaseCache.close]


def before_task() -> None:
    """Close connections that went stale while this thread was idle."""
    if getattr(_thread, "left_open", True):
        tidy_connections()


def after_task() -> None:
    """Close or reset the task's connections and caches."""
    _thread.left_open = tidy_connections()
    for cache in getattr(_thread, "caches", ()):
        cache.close()


def tidy_connections() -> bool:
    """Reset this thread's connections for the next task; tell whether a connection is still open."""
    still_open = False
    for connection in connections.all(initialized_only=True):
        connection.queries_log.clear()
        if connection.connection is None and not connection.in_atomic_block:
            continue
        if connection.in_atomic_block:
            _abandon_transaction(connection)
        else:
            connection.close_if_unusable_or_obsolete()
            still_open = still_open or connection.connection is not None
    return still_open


def _abandon_transaction(connection: BaseDatabaseWrapper) -> None:
    """Roll back a transaction that a task left open, by closing its connection."""
    log_lines.transaction_left_open(connection.alias)
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
    connection.close()
