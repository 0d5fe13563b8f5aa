"""Interrupting a run among others of the same process: the coroutine of one, or the exception that ends one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class CutShort(BaseException):
    """Raised by a pool in a task that has reached its hard limit or was terminated: the run has no outcome."""


class Interruptible:
    """Awaits a coroutine; after ``interrupt`` a cancellation raises another exception in it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self._error: BaseException | None = None

    def interrupt(self, error: BaseException) -> None:
        """Turn the next cancellation into ``error``."""
        self._error = error

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self.coroutine.send, None
        while True:
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            try:
                step, value = self.coroutine.send, (yield awaited)
            except GeneratorExit:
                self.coroutine.close()
                raise
            except BaseException as error:
                step, value = self.coroutine.throw, self._thrown(error)

    def _thrown(self, error: BaseException) -> BaseException:
        """Return the exception for the coroutine: that of ``interrupt``, if a cancellation stands for it."""
        if self._error is None:
            return error
        found, self._error = self._error, None
        if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) is not None:
            # asyncio.timeout() and task groups would take the task for cancelled.
            task.uncancel()
        return found
