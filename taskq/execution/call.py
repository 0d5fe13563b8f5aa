"""Calls the user's function: with its soft time limit, and on an event loop if it is a coroutine function.

Each thread that runs tasks keeps one event loop, and one thread for synchronous code that coroutines
call: clients and connections bound to them stay usable from task to task.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from types import CoroutineType
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async

from taskq.exceptions import SoftTimeLimitExceeded
from taskq.forks import end_if_forked, forks
from taskq.tasks.task import Task

from . import isolation
from .run import Run

#: True in runs whose coroutines use the connections and transactions of the calling thread: eager ones, and tests.
callers_connections: ContextVar[bool] = ContextVar("taskq.callers_connections", default=False)
# After a fork only the thread that runs tasks is left, and it has no loop yet.
_thread = threading.local()


def call(run: Run) -> Any:
    """Return the value of the task's function, or raise its exception."""
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
    limited = _SoftLimited(coroutine)
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
        _thread.loop = loop = asyncio.new_event_loop()
        _thread.thread_context = ThreadSensitiveContext()
    return loop, _thread.thread_context


async def _main(limited: _SoftLimited, thread_context: ThreadSensitiveContext) -> Any:
    before = forks()
    # Never left: that would end its thread and the thread's connections.
    await thread_context.__aenter__()  # type: ignore[no-untyped-call]
    try:
        return await limited
    finally:
        end_if_forked(before)
        if thread_context in SyncToAsync.context_to_thread_executor:
            await sync_to_async(isolation.tidy_connections)()


def _until_done(loop: asyncio.AbstractEventLoop, main: asyncio.Task[Any], limited: _SoftLimited) -> Any:
    """Run the loop until ``main`` is done; a soft time limit raised in the loop's own code goes to the coroutine."""
    while True:
        try:
            return loop.run_until_complete(main)
        except SoftTimeLimitExceeded as error:
            if main.done():
                raise
            limited.exceed(error)
            main.cancel()


def _cancel_others(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the coroutines that the task has left on the loop: the next task starts clean."""
    others = asyncio.all_tasks(loop)
    if others:
        for other in others:
            other.cancel()
        loop.run_until_complete(asyncio.gather(*others, return_exceptions=True))


class _SoftLimited:
    """Awaits a coroutine; after ``exceed`` a cancellation raises ``SoftTimeLimitExceeded`` in it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._error: BaseException | None = None

    def exceed(self, error: BaseException) -> None:
        """Turn the next cancellation into ``error``."""
        self._error = error

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._coroutine.send, None
        while True:
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            try:
                step, value = self._coroutine.send, (yield awaited)
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:
                thrown, self._error = error if self._error is None else self._error, None
                step, value = self._coroutine.throw, thrown
