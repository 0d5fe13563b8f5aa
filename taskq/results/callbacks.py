"""Calls a function when tasks have ended, for ``then()``. The caller does not wait.

The thread of ``listener`` reads the rows. One other thread of the process makes all calls, one after the other, so that
a slow function delays no waiter.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from django.db import connections

from taskq.conf import settings
from taskq.log_escapes import get_logger

from . import listener
from . import rows as run_rows
from .listener import Waiter

if TYPE_CHECKING:
    from taskq.models import TaskRun

logger = get_logger("taskq.results")

Call = Callable[[dict[str, "TaskRun"]], object]


def watch(ids: Collection[str], call: Call) -> None:
    """Arrange that ``call`` gets the rows of ``ids``, by id, once all of them are final, and return at once.

    It works within a transaction too.
    """
    alias = settings.DATABASE
    waiter = _CallbackWaiter(ids, call, alias)
    try:
        if listener.join(waiter, alias):
            waiter.take(run_rows.read_final_or_revoked(waiter.missing()))
            waiter.submit_if_done()
    except BaseException:
        # Only this function knows the waiter: nobody else would remove it.
        listener.leave(waiter, alias)
        raise


class _CallbackWaiter(Waiter):
    """A waiter that makes a call when all rows have come; no thread waits."""

    __slots__ = ("_alias", "_call", "_once")

    def __init__(self, ids: Collection[str], call: Call, alias: str) -> None:
        super().__init__(ids, self.submit_if_done)
        self._call, self._alias = call, alias
        self._once = threading.Lock()

    def submit_if_done(self) -> None:
        """Submit the call, once, if all rows have come. Several threads may call this."""
        if self.done() and self._once.acquire(blocking=False):
            # At the interpreter's end the call is not made any more.
            with suppress(RuntimeError):
                _call_thread().submit(self._leave_and_call)

    def _leave_and_call(self) -> None:
        try:
            listener.leave(self, self._alias)
            call_and_log(self._call, self.rows)
        finally:
            connections.close_all()


def call_and_log(call: Call, rows: dict[str, TaskRun]) -> None:
    """Make the call; log the exception that it raises."""
    try:
        call(rows)
    except Exception:
        logger.exception("A function that was given to then() raised.")


_executor: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def _call_thread() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(1, thread_name_prefix="taskq-then")
        return _executor


def _after_fork() -> None:
    global _executor
    _executor = None
    _lock._at_fork_reinit()  # type: ignore[attr-defined]


os.register_at_fork(after_in_child=_after_fork)
