"""Waits until tasks have ended: listen, then look, then wait.

``backend.ResultBackend`` calls this. All waiters of a process share one ``ResultListener``
a database (see ``listener``), which reads the rows of all awaited tasks in one query. This
module only reads rows.
"""

from __future__ import annotations

import asyncio
import builtins
import threading
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import connections

from taskq.conf import settings
from taskq.exceptions import TimeoutError

from . import listener
from . import rows as run_rows
from .listener import StreamingWaiter, Waiter

if TYPE_CHECKING:
    from taskq.models import TaskRun


def arrivals(
    ids: Collection[str],
    timeout: float | None = None,
    tick: Callable[[], object] | None = None,
    interval: float = 0.5,
) -> Generator[dict[str, TaskRun], None, None]:
    """Yield the rows of ``ids`` as they become final, all new rows at a time, until all have come.

    ``timeout`` is in seconds, ``None`` for as long as it takes. ``tick`` is called
    every ``interval`` seconds meanwhile. Raises ``TimeoutError``, and in a transaction
    ``RuntimeError`` at once: there the wait could never end. A caller that stops before
    the end closes the generator.
    """
    deadline = _deadline(timeout)
    alias = settings.DATABASE
    event = threading.Event()
    waiter = StreamingWaiter(ids, event.set)
    waiter.needs_first_look = not _is_connected(alias)
    first = not waiter.needs_first_look and not _is_read_later(ids, alias)
    if first:
        _look(waiter)
        if rows := waiter.new_rows():
            yield rows
        if waiter.done():
            return
        _refuse_in_transaction(alias)
    # An interruption, be it Ctrl-C between two lines, must leave no waiter behind.
    try:
        _join(waiter, alias, looked=first)
        while True:
            event.clear()
            # Before the first look there is no deadline: even timeout=0 is worth a look. This is read before the rows,
            # which the listener writes before it clears the flag.
            ends_at = None if waiter.needs_first_look else deadline
            if rows := waiter.new_rows():
                yield rows
            if waiter.done():
                return
            if waiter.first_look_failed:
                # It has a connection from now on, or the caller gets the error.
                waiter.first_look_failed = False
                _look(waiter)
                continue
            pause = _pause(waiter, timeout, ends_at, interval if tick else None)
            if not event.wait(pause) and tick:
                tick()
    finally:
        listener.leave(waiter, alias)


async def async_arrivals(
    ids: Collection[str], timeout: float | None = None
) -> AsyncGenerator[dict[str, TaskRun], None]:
    """Do ``arrivals`` from a coroutine."""
    deadline = _deadline(timeout)
    alias = settings.DATABASE
    event = asyncio.Event()
    waiter = StreamingWaiter(ids, partial(_set_in_loop, asyncio.get_running_loop(), event))
    listener_looks = waiter.needs_first_look = not await sync_to_async(_is_connected)(alias)
    if not listener_looks:
        await sync_to_async(_look)(waiter)
        if rows := waiter.new_rows():
            yield rows
        if waiter.done():
            return
        await sync_to_async(_refuse_in_transaction)(alias)
    try:
        if listener.join(waiter, alias) and not listener_looks:
            await sync_to_async(_look)(waiter)
        while True:
            event.clear()
            # Before the first look there is no deadline: even timeout=0 is worth a look. This is read before the rows,
            # which the listener writes before it clears the flag.
            ends_at = None if waiter.needs_first_look else deadline
            if rows := waiter.new_rows():
                yield rows
            if waiter.done():
                return
            if waiter.first_look_failed:
                waiter.first_look_failed = False
                await sync_to_async(_look)(waiter)
                continue
            pause = _pause(waiter, timeout, ends_at, None)
            with suppress(builtins.TimeoutError):
                await asyncio.wait_for(event.wait(), pause)
    finally:
        listener.leave(waiter, alias)


def _is_connected(alias: str) -> bool:
    """Tell whether the calling thread has a connection. If not, it opens none: the listener's thread looks for it."""
    return connections[alias].connection is not None


def _is_read_later(ids: Collection[str], alias: str) -> bool:
    """One id alone is read once, after joining. Of many, those that have ended need not be joined for."""
    return len(ids) == 1 and listener.is_alive(alias) and not connections[alias].in_atomic_block


def _join(waiter: Waiter, alias: str, *, looked: bool) -> None:
    listener_looks = waiter.needs_first_look
    listening = listener.join(waiter, alias)
    # A listener that is only starting looks for its waiters later; timeout=0 asks what is so now.
    if not listener_looks and (listening or not looked):
        _look(waiter)


def _look(waiter: Waiter) -> None:
    """Read the missing rows once, in the caller's own transaction if it has one."""
    waiter.take(run_rows.ended(waiter.missing()))


def _refuse_in_transaction(alias: str) -> None:
    if not connections[alias].in_atomic_block:
        return
    if any(getattr(block, "_from_testcase", False) for block in connections[alias].atomic_blocks):
        raise RuntimeError(
            "get() was called in a TestCase (or with pytest's fixture db), and the task is not ready. The test's "
            "transaction never commits, so no worker sees the task, and get() would wait for ever. Run it in the test: "
            "taskq.testing keeps tasks in memory (TaskqTestMixin, override(), the fixture taskq_memory), and drain() "
            "runs them; or use TransactionTestCase with taskq.testing.running_worker()."
        )
    raise RuntimeError(
        f"get() was called inside transaction.atomic() on the database '{alias}' (TASKQ_DATABASE), and the task is not "
        "ready. A task that this transaction sent can't start before it commits, so get() would wait for ever. Wait "
        "after the block, in a transaction.on_commit() function, or in a view that is decorated with "
        "@transaction.non_atomic_requests."
    )


def _deadline(timeout: float | None) -> float | None:
    """Return the end of the time by the monotonic clock, ``None`` for never."""
    if timeout is None:
        return None
    if not isinstance(timeout, int | float) or timeout != timeout:
        raise TypeError(f"timeout must be a number of seconds, or None, not {timeout!r}.")
    return None if timeout > threading.TIMEOUT_MAX else time.monotonic() + timeout


def _pause(waiter: Waiter, timeout: float | None, deadline: float | None, interval: float | None) -> float | None:
    """Return the seconds until the next tick or the deadline. Raises ``TimeoutError`` after the deadline."""
    if deadline is None:
        return interval
    left = deadline - time.monotonic()
    if left <= 0:
        missing = waiter.missing()
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise TimeoutError(f"Task {missing[0]}{more} was not ready after {timeout:g} s.")
    return left if interval is None else min(left, interval)


def _set_in_loop(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    # A loop that was closed while its coroutine waited has nobody to wake.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)
