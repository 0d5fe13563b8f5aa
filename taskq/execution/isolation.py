"""Each task starts clean: context variables, language, time zone, queries, connections and caches.

Called around every run in a worker, never around eager runs, which share all of
that with their caller. A connection is closed only when Django would close it
after a request; one that nobody opened costs nothing.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("taskq.worker")

# What a thread keeps between runs; gone after a fork only in threads that are gone too.
_thread = threading.local()


def fresh_context() -> contextvars.Context:
    """Return a context in which nothing is set: no language, no time zone, nothing that the last task left.

    The thread's caches are in it, because Django keeps them in context variables
    too, and each task would connect anew.
    """
    try:
        base: contextvars.Context = _thread.base
    except AttributeError:
        base = _thread.base = contextvars.Context()
        _thread.caches = base.run(_open_caches)
    return base.copy()


def _open_caches() -> list[BaseCache]:
    """Create this thread's caches; return those that have something to close after each task."""
    opened: list[Any] = []
    for alias in caches:
        try:
            opened.append(caches[alias])
        except Exception as error:  # whatever its library raises; a task that uses it gets the same error
            logger.warning("The cache %r can't be set up: %s", alias, error)
    return [cache for cache in opened if type(cache).close is not BaseCache.close]


def before_task() -> None:
    """Close connections that went stale while this thread was idle."""
    if getattr(_thread, "left_open", True):
        tidy_connections()


def after_task() -> None:
    """Take back what the task has left open."""
    _thread.left_open = tidy_connections()
    for cache in getattr(_thread, "caches", ()):
        cache.close()


def tidy_connections() -> bool:
    """Leave this thread's connections as the next task may find them; tell whether one is still open."""
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
    """Roll back what a task left open, by closing the connection: its server then forgets the transaction."""
    logger.warning("A task left a transaction on %r open: it is rolled back.", connection.alias)
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
    connection.close()
