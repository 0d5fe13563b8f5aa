"""Runs coroutine tasks on an event loop that they share. The steps are those of ``pipeline``.

The pool ``asyncio`` calls it. Code of the project that is no coroutine, such as handlers and receivers of signals, runs
in the thread of the run: there it may use the database, and blocks no other task.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import ContextVar
from functools import partial
from types import CoroutineType
from typing import Any, Protocol
from weakref import WeakSet

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async

from taskq import signals
from taskq.calls import context as task_contexts
from taskq.containment import contained
from taskq.exceptions import SoftTimeLimitExceeded
from taskq.forks import end_if_forked
from taskq.handover import Delivery, Outcome
from taskq.logs import task_context
from taskq.messages import tracing
from taskq.results import join_guard
from taskq.tasks.task import Task

from . import followups, handlers, isolation, kept_logs, log_lines, outcomes, pipeline, stored_bodies
from .interrupts import Interruptible
from .run import ReportFn, Run
from .tracebacks import release

#: Seconds in which the coroutines that a task has left on the loop have to end, once they are cancelled.
#: Fewer than the grace after which the pool kills a child whose task goes on.
_LEFT = 2.0

#: The asyncio tasks that the running task has started.
_started: ContextVar[WeakSet[asyncio.Task[Any]] | None] = ContextVar("taskq.started", default=None)


class RunThread(Protocol):
    """The thread of one run; an ``Executor``."""

    @property
    def has_thread(self) -> bool:
        """Whether something was submitted, and has run or runs."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Have the thread call a function."""


def is_coroutine_task(task: Task[..., Any]) -> bool:
    """Tell whether calling a task gives a coroutine, and calls no other code of the project before."""
    own_call = type(task).__call__
    return inspect.iscoroutinefunction(task.run) and (
        own_call is Task.__call__ or inspect.iscoroutinefunction(own_call)
    )


def task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """Make an asyncio task; note it with the task of the project that has started it, if that goes on."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    started = _started.get()
    if started is not None:
        started.add(task)
    return task


class CoroutineRun:
    """One run on the loop. ``execute`` is made an asyncio task with a context of its own; ``end`` interrupts it."""

    def __init__(self, delivery: Delivery, report: ReportFn, thread: RunThread) -> None:
        self._run = Run(delivery, report, None, inline=False)
        self._run.shared = True
        self._thread = thread
        self._task: asyncio.Task[Any] | None = None
        self._function: Interruptible | None = None
        #: The function was not called yet.
        self._beginning = True
        #: The run has ended, and its handlers are called, perhaps as soon as there is a thread.
        self._concluding = False
        #: The pool has ended the run: it has no outcome.
        self._cut = False

    def end(self, error: BaseException | None) -> bool:
        """Raise ``error`` in the function while it runs; with ``None`` end the run. Tell whether that was possible."""
        if error is None and (self._beginning or (self._concluding and not self._thread.has_thread)):
            # The run may wait for a thread, and none may become free soon.
            self._cut = self._task is None or self._task.cancel()
            return self._cut
        if self._function is None or self._task is None:
            return False
        if error is None:
            self._cut = True
        else:
            self._function.interrupt(error)
        self._task.cancel()
        return True

    async def execute(self) -> Outcome | None:
        """Run to the end and return the outcome, ``None`` after ``end(None)``."""
        run, delivery = self._run, self._run.delivery
        self._task = asyncio.current_task()
        self._use_thread()
        try:
            if kept_logs.keeps:
                with kept_logs.kept(run):
                    return await self._perform()
            return await self._perform()
        except BaseException as error:
            end_if_forked(run.forks)
            if self._cut and isinstance(error, asyncio.CancelledError):
                return None
            log_lines.run_crashed(delivery)
            return outcomes.crashed(delivery, error)
        finally:
            end_if_forked(run.forks)
            await self._tidy()
            release(run.exception)

    def _use_thread(self) -> None:
        """Have ``sync_to_async`` use the thread of this run, in its context."""
        context = ThreadSensitiveContext()
        assert isinstance(self._thread, Executor)
        SyncToAsync.context_to_thread_executor[context] = self._thread
        SyncToAsync.thread_sensitive_context.set(context)

    async def _tidy(self) -> None:
        if self._thread.has_thread:
            try:
                await asyncio.wrap_future(self._thread.submit(isolation.after_task, self._run.delivery))
            except contained():
                log_lines.tidying_failed()

    # -- the steps

    async def _perform(self) -> Outcome | None:
        run = self._run
        join_guard.running.set(True)
        with task_context(run.delivery.task_id, run.delivery.name):
            if run.delivery.stored_as:
                outcome = await sync_to_async(stored_bodies.read)(run.delivery)
                if outcome is not None:
                    return outcome
            try:
                pipeline.read(run)
            except Exception as error:
                outcome = followups.after_refusal(run, outcomes.refused(run, error))
                return await sync_to_async(handlers.refuse)(run, outcome)
            token = task_contexts.enter(run.request)
            try:
                if tracing.tracer is None:
                    return await self._take_through(run)
                return await tracing.tracer.run_async(run, self._take_through)
            finally:
                task_contexts.leave(token)

    async def _take_through(self, run: Run) -> Outcome | None:
        if pipeline.is_expired(run):
            outcome = outcomes.revoked(run, "expired")
        else:
            try:
                if self._cut:
                    return None
                await self._begin()
                run.value = await self._timed()
            except BaseException as error:
                if self._cut:
                    return None
                outcome = outcomes.raised(run, error)
            else:
                if self._cut:
                    return None
                outcome = outcomes.returned(run)
        if followups.writes_rows(run, outcome):
            outcome = await sync_to_async(followups.after)(run, outcome)
        return await self._conclude(outcome)

    async def _begin(self) -> None:
        run = self._run
        if signals.task_prerun.receivers or type(run.task).before_start is not Task.before_start:
            await sync_to_async(pipeline.begin)(run)
        else:
            pipeline.begin(run)

    async def _conclude(self, outcome: Outcome) -> Outcome:
        if handlers.calls_project(self._run):
            self._concluding = True
            return await sync_to_async(handlers.conclude)(self._run, outcome)
        return handlers.conclude(self._run, outcome)

    async def _timed(self) -> Any:
        run = self._run
        run.clock = time.monotonic()
        try:
            return await self._call()
        finally:
            end_if_forked(run.forks)
            run.runtime = time.monotonic() - run.clock
            run.request.forget_rolled_back()

    async def _call(self) -> Any:
        run = self._run
        self._beginning = False
        if self._cut:
            return None
        run.request.entered = type(run.task).__call__ is Task.__call__
        value = run.task.entry(*run.args, **run.kwargs)
        if type(value) is not CoroutineType:
            return value
        started: WeakSet[asyncio.Task[Any]] = WeakSet()
        _started.set(started)
        self._function = Interruptible(value)
        timer = self._limit(run.delivery.soft_time_limit)
        try:
            return await self._function
        finally:
            self._function = None
            if timer is not None:
                timer.cancel()
            await _cancel(started)

    def _limit(self, seconds: float | None) -> asyncio.TimerHandle | None:
        if not seconds:
            return None
        exceed = partial(self.end, SoftTimeLimitExceeded(seconds))
        return asyncio.get_running_loop().call_later(seconds, exceed)


async def _cancel(tasks: WeakSet[asyncio.Task[Any]]) -> None:
    """Cancel the coroutines that a task has left on the loop, and wait some time for their ends."""
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_LEFT)
