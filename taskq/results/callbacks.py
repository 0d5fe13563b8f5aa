"""Calls a function when tasks have ended, for ``then()``. The caller goes on at once.

The lookout's thread sees the end; one thread a process makes the calls, one after
the other, so that a slow one keeps nobody from hearing of a result.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from django.db import connections

from taskq.conf import settings

from . import listener
from . import rows as run_rows
from .listener import Ticket

if TYPE_CHECKING:
    from taskq.models import TaskRun

logger = logging.getLogger("taskq.results")

Call = Callable[[dict[str, "TaskRun"]], object]


def watch(ids: Collection[str], call: Call) -> None:
    """Have ``call`` called with the rows of ``ids``, by id, once all of them are final.

    Also if they are already; also within a transaction, for nothing waits here.
    """
    alias = settings.DATABASE
    watched = _Watch(ids, call, alias)
    try:
        if listener.join(watched, alias):
            watched.take(run_rows.finished(watched.missing()))
            watched.look()
    except BaseException:
        # The caller hears of it, and nobody would ever take the ticket back.
        listener.leave(watched, alias)
        raise


class _Watch(Ticket):
    """A ticket that nobody waits with."""

    __slots__ = ("_alias", "_call", "_once")

    def __init__(self, ids: Collection[str], call: Call, alias: str) -> None:
        super().__init__(ids, self.look)
        self._call, self._alias = call, alias
        self._once = threading.Lock()

    def look(self) -> None:
        """Have the call made if all have come. May be called from several threads."""
        if self.done() and self._once.acquire(blocking=False):
            # When the interpreter ends nobody wants to know any more.
            with suppress(RuntimeError):
                _caller().submit(self._make)

    def _make(self) -> None:
        try:
            listener.leave(self, self._alias)
            make(self._call, self.rows)
        finally:
            connections.close_all()


def make(call: Call, rows: dict[str, TaskRun]) -> None:
    """Make the call; log what it raises."""
    try:
        call(rows)
    except Exception:
        logger.exception("A function that was given to then() raised.")


_executor: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def _caller() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(1, thread_name_prefix="taskq-then")
        return _executor


def _after_fork() -> None:
    global _executor, _lock
    _executor, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
