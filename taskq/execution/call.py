"""Calls the user's function: with its soft time limit, and on an event loop if it is a coroutine function.

Each thread that runs tasks keeps one event loop, and one thread for synchronous code that coroutines
call: clients and connections bound to them stay usable from task to task.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextvars import ContextVar
from types import CoroutineType
from typing import Any
from weakref import WeakValueDictionary

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async

from taskq.exceptions import SoftTimeLimitExceeded
from taskq.forks import end_if_forked, forks
from taskq.tasks.task import Task

from . import isolation
from .interrupts import Interruptible
from .run import Run

#: True in runs whose coroutines use the connections and transactions of the calling thread: eager ones, and tests.
callers_connections: ContextVar[bool] = ContextVar("taskq.callers_connections", default=False)
# After a fork only the thread that runs tasks is left, and it has no loop yet.
_thread = threading.local()
#: The event loops of threads, by the numbers of the threads, for who looks where a task is.
loops: WeakValueDictionary[int, asyncio.AbstractEventLoop] = WeakValueDictionary()


def call(run: Run) -> Any:
    """Return the value of the task's function, or raise its exception."""
    if run.guard is not None:
        with run.guard:
            return _call(run)
    limit = run.delivery.soft_time_limit
    if limit and run.soft_limit is not None:
        with run.soft_limit(limit):
            return _call(run)
    return _call(run)


def _call(run: Run) -> Any:
    task = run.task
    # The user's own __call__ may call Task.__call__, which must not start a new run.
    run.request.entered = type(task).__call__ is Task.__call__
    return finish(task.entry(*run.args, **run.kwargs))


def finish(value: Any) -> Any:
    """Return ``value``, or the value of the coroutine that it is."""
    if type(value) is CoroutineType:
        return _call_inline(value) if callers_connections.get() else _run_coroutine(value)
    return value


def _call_inline(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in this thread; its synchronous code uses the caller's connections."""

    async def main() -> Any:
        return await coroutine

    return async_to_sync(main)()


# -- in a worker ----------------------------------------------------------------------


def _run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    loop, thread_context = _loop()
    limited = Interruptible(coroutine)
    main = loop.create_task(_main(limited, thread_context))
    try:
        return _until_done(loop, main, limited)
    finally:
        _cancel_others(loop)


def _loop() -> tuple[asyncio.AbstractEventLoop, ThreadSensitiveContext]:
    """Return this thread's event loop, and the context of the thread for its synchronous code."""
    try:
        loop: asyncio.AbstractEventLoop = _thread.loop
        closed = loop.is_closed()
    except AttributeError:
        closed = True
    if closed:
        _thread.loop = loops[threading.get_ident()] = loop = asyncio.new_event_loop()
        _thread.thread_context = ThreadSensitiveContext()
    return loop, _thread.thread_context


async def _main(limited: Interruptible, thread_context: ThreadSensitiveContext) -> Any:
    before = forks()
    # Never left: that would end its thread and the thread's connections.
    await thread_context.__aenter__()  # type: ignore[no-untyped-call]
    try:
        return await limited
    finally:
        end_if_forked(before)
        if thread_context in SyncToAsync.context_to_thread_executor:
            await sync_to_async(isolation.tidy_connections)()


def _until_done(loop: asyncio.AbstractEventLoop, main: asyncio.Task[Any], limited: Interruptible) -> Any:
    """Run the loop until ``main`` is done; a soft time limit raised in the loop's own code goes to the coroutine."""
    while True:
        try:
            return loop.run_until_complete(main)
        except SoftTimeLimitExceeded as error:
            if main.done():
                raise
            limited.interrupt(error)
            main.cancel()


def _cancel_others(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the coroutines that the task has left on the loop: the next task starts clean."""
    others = asyncio.all_tasks(loop)
    if others:
        for other in others:
            other.cancel()
        loop.run_until_complete(asyncio.gather(*others, return_exceptions=True))
