"""Calls the user's function: with its soft time limit, and on an event loop if it is a coroutine function.

Each thread that runs tasks keeps one event loop, and one thread for the
synchronous code that coroutines call, so that clients and connections which are
bound to them last from task to task.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator
from types import CoroutineType
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async

from taskq.exceptions import SoftTimeLimitExceeded
from taskq.tasks.task import Task

from . import isolation
from .run import Run

# After a fork only the thread that runs tasks is left, and it has not made these yet.
_thread = threading.local()


def call(run: Run) -> Any:
    """Return what the task's function returns, or raise what it raises."""
    limit = run.delivery.soft_time_limit
    if limit and run.soft_limit is not None:
        with run.soft_limit(limit):
            return _call(run)
    return _call(run)


def _call(run: Run) -> Any:
    task = run.task
    # The user's own __call__ may come to Task.__call__, which has to know that the run is under way.
    run.request.entered = type(task).__call__ is Task.__call__
    return finish(task.entry(*run.args, **run.kwargs), run.inline)


def finish(value: Any, inline: bool) -> Any:
    """Return ``value``, or what it comes to if it is a coroutine."""
    if type(value) is CoroutineType:
        return _call_inline(value) if inline else _run_coroutine(value)
    return value


def _call_inline(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine for a caller in this thread, whose connections its synchronous code then uses."""

    async def main() -> Any:
        return await coroutine

    return async_to_sync(main)()


# -- in a worker ----------------------------------------------------------------------


def _run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    loop, apart = _loop()
    limited = _Limited(coroutine)
    main = loop.create_task(_main(limited, apart))
    try:
        return _until_done(loop, main, limited)
    finally:
        _end_others(loop)


def _loop() -> tuple[asyncio.AbstractEventLoop, ThreadSensitiveContext]:
    """Return this thread's event loop, and what stands for the thread of its synchronous code."""
    try:
        loop: asyncio.AbstractEventLoop = _thread.loop
        closed = loop.is_closed()
    except AttributeError:
        closed = True
    if closed:
        _thread.loop = loop = asyncio.new_event_loop()
        _thread.apart = ThreadSensitiveContext()
    return loop, _thread.apart


async def _main(limited: _Limited, apart: ThreadSensitiveContext) -> Any:
    # Entered and never left: leaving would end its thread, and with it its connections.
    await apart.__aenter__()  # type: ignore[no-untyped-call]
    try:
        return await limited
    finally:
        if apart in SyncToAsync.context_to_thread_executor:
            await sync_to_async(isolation.tidy_connections)()


def _until_done(loop: asyncio.AbstractEventLoop, main: asyncio.Task[Any], limited: _Limited) -> Any:
    """Run the loop until ``main`` is done. A soft time limit that hits the loop itself is passed to the coroutine."""
    while True:
        try:
            return loop.run_until_complete(main)
        except SoftTimeLimitExceeded as error:
            if main.done():
                raise
            limited.exceed(error)
            main.cancel()


def _end_others(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what the task has left running on the loop: the next one starts clean."""
    others = asyncio.all_tasks(loop)
    if others:
        for other in others:
            other.cancel()
        loop.run_until_complete(asyncio.gather(*others, return_exceptions=True))


class _Limited:
    """Awaits a coroutine; when told to, it gets ``SoftTimeLimitExceeded`` where it waits instead of a cancellation."""

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
                thrown, self._error = self._error or error, None
                step, value = self._coroutine.throw, thrown
