"""Waits until tasks have ended: listen, then look, then wait.

``AsyncResult.get()`` comes here through ``backend``. All waiters of a process share
one ``Lookout`` a database (``lookout``), which looks at all that is waited for in
one query. This module only reads. Who waits for many ids and wants each as soon as it
is there, as groups do, goes through ``arrivals``.
"""

from __future__ import annotations

import asyncio
import builtins
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import connections

from taskq.conf import settings
from taskq.exceptions import TimeoutError

from . import listener
from . import rows as run_rows
from .listener import Arrivals, Ticket

if TYPE_CHECKING:
    from taskq.models import TaskRun


def wait(
    ids: Collection[str],
    timeout: float | None = None,
    tick: Callable[[], object] | None = None,
    interval: float = 0.5,
) -> dict[str, TaskRun]:
    """Return the rows of ``ids``, by id, as soon as all of them are final.

    ``timeout`` is in seconds, ``None`` for as long as it takes. ``tick`` is called
    every ``interval`` seconds meanwhile. Raises ``TimeoutError``, and ``RuntimeError``
    at once where waiting could never end: in a transaction.
    """
    deadline = _deadline(timeout)
    alias = settings.DATABASE
    event = threading.Event()
    ticket = Ticket(ids, event.set)
    if not listener.is_alive(alias) or connections[alias].in_atomic_block:
        _look_first(ticket, alias)
        if ticket.done():
            return ticket.rows
    # What interrupts this, be it Ctrl-C between two lines, must leave no ticket behind.
    try:
        if listener.join(ticket, alias):
            ticket.take(run_rows.finished(ticket.missing()))
        while not ticket.done():
            pause = _pause(ticket, timeout, deadline, interval if tick else None)
            if not event.wait(pause) and tick:
                tick()
            event.clear()
    finally:
        listener.leave(ticket, alias)
    return ticket.rows


async def await_(
    ids: Collection[str],
    timeout: float | None = None,
    tick: Callable[[], Awaitable[object]] | None = None,
    interval: float = 0.5,
) -> dict[str, TaskRun]:
    """Do what ``wait`` does without blocking the event loop."""
    deadline = _deadline(timeout)
    alias = settings.DATABASE
    event = asyncio.Event()
    ticket = Ticket(ids, partial(_wake_loop, asyncio.get_running_loop(), event))
    await sync_to_async(_look_first)(ticket, alias)
    if ticket.done():
        return ticket.rows
    try:
        if listener.join(ticket, alias):
            ticket.take(await sync_to_async(run_rows.finished)(ticket.missing()))
        while not ticket.done():
            pause = _pause(ticket, timeout, deadline, interval if tick else None)
            if not await _is_set(event, pause) and tick:
                await tick()
            event.clear()
    finally:
        listener.leave(ticket, alias)
    return ticket.rows


def arrivals(
    ids: Collection[str],
    timeout: float | None = None,
    tick: Callable[[], object] | None = None,
    interval: float = 0.5,
) -> Generator[dict[str, TaskRun], None, None]:
    """Yield the rows of ``ids`` as they become final, all that are new at a time, until all have come.

    Waits, and raises, as ``wait`` does. To be closed by those who stop before its end.
    """
    deadline = _deadline(timeout)
    alias = settings.DATABASE
    event = threading.Event()
    ticket = Arrivals(ids, event.set)
    ticket.take(run_rows.finished(ticket.missing()))
    if rows := ticket.news():
        yield rows
    if ticket.done():
        return
    _refuse_in_transaction(alias)
    try:
        if listener.join(ticket, alias):
            ticket.take(run_rows.finished(ticket.missing()))
        while True:
            event.clear()
            if rows := ticket.news():
                yield rows
            if ticket.done():
                return
            pause = _pause(ticket, timeout, deadline, interval if tick else None)
            if not event.wait(pause) and tick:
                tick()
    finally:
        listener.leave(ticket, alias)


async def async_arrivals(
    ids: Collection[str], timeout: float | None = None
) -> AsyncGenerator[dict[str, TaskRun], None]:
    """Do what ``arrivals`` does without blocking the event loop."""
    deadline = _deadline(timeout)
    alias = settings.DATABASE
    event = asyncio.Event()
    ticket = Arrivals(ids, partial(_wake_loop, asyncio.get_running_loop(), event))
    ticket.take(await sync_to_async(run_rows.finished)(ticket.missing()))
    if rows := ticket.news():
        yield rows
    if ticket.done():
        return
    await sync_to_async(_refuse_in_transaction)(alias)
    try:
        if listener.join(ticket, alias):
            ticket.take(await sync_to_async(run_rows.finished)(ticket.missing()))
        while True:
            event.clear()
            if rows := ticket.news():
                yield rows
            if ticket.done():
                return
            await _is_set(event, _pause(ticket, timeout, deadline, None))
    finally:
        listener.leave(ticket, alias)


async def _is_set(event: asyncio.Event, pause: float | None) -> bool:
    """Wait up to ``pause`` seconds for ``event``; tell whether it came."""
    with suppress(builtins.TimeoutError):
        return await asyncio.wait_for(event.wait(), pause)
    return False


def _look_first(ticket: Ticket, alias: str) -> None:
    """Look once, in the caller's own transaction if it has one; from there nobody can wait."""
    ticket.take(run_rows.finished(ticket.missing()))
    if not ticket.done():
        _refuse_in_transaction(alias)


def _refuse_in_transaction(alias: str) -> None:
    if connections[alias].in_atomic_block:
        raise RuntimeError(
            f"get() was called inside transaction.atomic() on the database '{alias}' (TASKQ_DATABASE), and the task is "
            "not ready. A task that this transaction sent can't start before it commits, so get() would wait for ever. "
            "Wait after the block, in a transaction.on_commit() function, or in a view that is decorated with "
            "@transaction.non_atomic_requests."
        )


def _deadline(timeout: float | None) -> float | None:
    """Return when the time is over, by the monotonic clock; ``None`` for never."""
    if timeout is None:
        return None
    if not isinstance(timeout, int | float) or timeout != timeout:
        raise TypeError(f"timeout must be a number of seconds, or None, not {timeout!r}.")
    return None if timeout > threading.TIMEOUT_MAX else time.monotonic() + timeout


def _pause(ticket: Ticket, timeout: float | None, deadline: float | None, interval: float | None) -> float | None:
    """Return how long to wait before the next check, in seconds. Raises ``TimeoutError`` when the time is over."""
    if deadline is None:
        return interval
    left = deadline - time.monotonic()
    if left <= 0:
        missing = ticket.missing()
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise TimeoutError(f"Task {missing[0]}{more} was not ready after {timeout:g} s.")
    return left if interval is None else min(left, interval)


def _wake_loop(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(event.set)
    except RuntimeError:
        # The loop was closed while its coroutine waited: nobody is there to wake.
        return
