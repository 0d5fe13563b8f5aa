"""Waits until tasks have ended: begins to listen, reads the rows once, then waits for the listener.

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
from contextlib import closing, suppress
from dataclasses import dataclass
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
    event = threading.Event()
    waiter = StreamingWaiter(ids, event.set)
    # Closing removes the waiter, also after an interruption between two lines.
    with closing(_steps(waiter, event, timeout, interval if tick else None)) as steps:
        for step in steps:
            if isinstance(step, _Pause):
                if not event.wait(step.seconds) and tick:
                    tick()
            elif callable(step):
                step()
            else:
                yield step


async def async_arrivals(
    ids: Collection[str], timeout: float | None = None
) -> AsyncGenerator[dict[str, TaskRun], None]:
    """Do ``arrivals`` from a coroutine."""
    event = asyncio.Event()
    waiter = StreamingWaiter(ids, partial(_set_in_loop, asyncio.get_running_loop(), event))
    with closing(_steps(waiter, event, timeout, None)) as steps:
        for step in steps:
            if isinstance(step, _Pause):
                with suppress(builtins.TimeoutError):
                    await asyncio.wait_for(event.wait(), step.seconds)
            elif callable(step):
                await sync_to_async(step)()
            else:
                yield step


@dataclass(frozen=True, slots=True)
class _Pause:
    """A step of a wait: wait for the event, ``seconds`` at most."""

    seconds: float | None


#: A step of a wait: rows for the caller, a call that may use the database, or a pause.
_Step = dict[str, "TaskRun"] | Callable[[], object] | _Pause


def _steps(
    waiter: StreamingWaiter, event: threading.Event | asyncio.Event, timeout: float | None, interval: float | None
) -> Generator[_Step, None, None]:
    """Yield the steps of a wait, the same for threads and coroutines. ``event`` is set when the waiter has new rows."""
    deadline = _deadline(timeout)
    first = _FirstLook(waiter, settings.DATABASE)
    yield first.choose
    if first.before_joining:
        yield partial(_look, waiter)
        if rows := waiter.new_rows():
            yield rows
        if waiter.done():
            return
        yield partial(_refuse_in_transaction, first.alias)
    try:
        listening = listener.join(waiter, first.alias)
        # A listener that is only starting reads the rows itself; but timeout=0 has to read them now.
        if not first.by_listener and (listening or not first.before_joining):
            yield partial(_look, waiter)
        while True:
            event.clear()
            # The deadline counts after the first look only: timeout=0 means one look. The flag is read before the rows,
            # because the listener gives rows first and then clears the flag.
            ends_at = None if waiter.needs_first_look else deadline
            if rows := waiter.new_rows():
                yield rows
            if waiter.done():
                return
            if waiter.first_look_failed:
                # The listener could not look. This thread opens a connection and does, or its caller gets the error.
                waiter.first_look_failed = False
                yield partial(_look, waiter)
                continue
            yield _Pause(_pause(waiter, timeout, ends_at, interval))
    finally:
        listener.leave(waiter, first.alias)


class _FirstLook:
    """Chooses who reads the rows first.

    ``by_listener``: the listener does, for a waiter whose thread has no connection: it need not open one.
    ``before_joining``: the waiter does, before it joins the listener. Otherwise it does after it has joined.
    """

    def __init__(self, waiter: Waiter, alias: str) -> None:
        self.alias = alias
        self.before_joining = self.by_listener = False
        self._waiter = waiter

    def choose(self) -> None:
        """Choose. Called on the thread that would use its connection."""
        connection = connections[self.alias]
        self.by_listener = self._waiter.needs_first_look = connection.connection is None
        # A single id is read once only, after joining. Of many ids, those that have ended need not be joined for.
        later = len(self._waiter.ids) == 1 and listener.is_alive(self.alias) and not connection.in_atomic_block
        self.before_joining = not self.by_listener and not later


def _look(waiter: Waiter) -> None:
    """Read the missing rows once, in the caller's own transaction if it has one."""
    waiter.take(run_rows.read_final_or_revoked(waiter.missing()))


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
    """Return the monotonic time at which ``timeout`` ends, ``None`` for never."""
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
