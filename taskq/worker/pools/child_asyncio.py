"""A child of the asyncio pool: coroutine tasks on one event loop, other tasks in threads beside it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.containment import contained
from taskq.exceptions import TaskTerminated
from taskq.execution import coroutines, execute, isolation, outcomes
from taskq.execution.interrupts import CutShort
from taskq.execution.log_lines import tidying_failed
from taskq.handover import Delivery, Outcome
from taskq.worker import log_lines

from . import frames, stack_texts
from .base import MAX_IN_FLIGHT, RunFn
from .child_many import ManyChild
from .child_threads import Lease, Threads
from .soft_limits import thread_limit


class AsyncioChild(ManyChild):
    """The loop of one child. With ``run``, each delivery is run by that function, in a thread."""

    def __init__(
        self, sock: socket.socket, permits_fd: int, options: frames.ChildOptions, run: RunFn | None = None
    ) -> None:
        super().__init__(sock, permits_fd, options)
        self._run = run
        self._threads = Threads(settings.ASYNCIO_THREADS or MAX_IN_FLIGHT)
        self._seats: list[isolation.Seat] = []
        #: How to see where the run of a job is.
        self._stacks: dict[int, Callable[[], str]] = {}
        #: Ends the run of a job; the argument says whether for good.
        self._interrupts: dict[int, Callable[[bool], bool]] = {}
        #: The event loop only has weak references.
        self._tasks: set[asyncio.Task[Outcome | None]] = set()
        self._error: BaseException | None = None
        self._done = False

    def work(self) -> int:
        """Run the loop until the main process asks to stop."""
        self._thread = threading.get_ident()
        self._loop = loop = asyncio.new_event_loop()
        factory: Any = coroutines.task_factory  # typeshed's protocol of it is another one for each version
        loop.set_task_factory(factory)
        for fd in (self._sock.fileno(), self._permits_fd):
            loop.add_reader(fd, self._read)
        self.up()
        while not self._done:
            # A task may stop the loop, and a coroutine that it has started may raise what would end this process.
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                log_lines.exit_refused(error)
        if self._error is not None:
            raise self._error
        return 0

    def start(self, delivery: Delivery) -> None:
        """Start a delivery on the loop if its task is a coroutine, otherwise in a thread."""
        task = tasks.get(delivery.name)
        if task is not None and self._run is None and coroutines.is_coroutine_task(task):  # type: ignore[arg-type]
            self._start_on_loop(delivery)
        else:
            self._start_in_thread(delivery)

    def interrupt(self, job: int, *, hard: bool) -> bool:
        """Interrupt the run of a job."""
        return self._interrupts[job](hard)

    def stack(self, job: int) -> str:
        """Return where a run is: the stack of its thread, or where its coroutine waits."""
        return self._stacks[job]()

    def _stack_on_loop(self, coroutine: Any) -> str:
        # One that runs has no place where it waits.
        running = getattr(coroutine, "cr_running", False)
        return stack_texts.of_thread(self._thread) if running else stack_texts.of_coroutine(coroutine)

    def _read(self) -> None:
        try:
            self.on_readable()
        except BaseException as error:
            self._error, self._done = error, True
        self._stop_if_done()

    def _stop_if_done(self) -> None:
        self._done = self._done or self.finished
        if self._done:
            self._loop.stop()

    def _conclude(self, delivery: Delivery, outcome: Outcome | None) -> None:
        del self._interrupts[delivery.job], self._stacks[delivery.job]
        self.answer(delivery, outcome)
        self._stop_if_done()

    # -- on the loop

    def _start_on_loop(self, delivery: Delivery) -> None:
        seat = self._seats.pop() if self._seats else isolation.Seat()
        lease = Lease(self._threads, partial(isolation.before_task, delivery))
        run = coroutines.CoroutineRun(delivery, self.report, lease)
        self._interrupts[delivery.job] = lambda hard: run.end(None if hard else TaskTerminated("terminated"))
        coroutine = run.execute()
        self._stacks[delivery.job] = partial(self._stack_on_loop, coroutine)
        task = self._loop.create_task(coroutine, context=seat.context())
        self._tasks.add(task)
        task.add_done_callback(partial(self._loop_run_ended, delivery, seat, lease))

    def _loop_run_ended(
        self, delivery: Delivery, seat: isolation.Seat, lease: Lease, task: asyncio.Task[Outcome | None]
    ) -> None:
        self._tasks.discard(task)
        lease.release()
        try:
            seat.tidy()
            self._seats.append(seat)
        except contained():  # such as what the close() of a cache raises; the seat is not used again
            tidying_failed()
        try:
            outcome = task.result()
        except BaseException as error:
            log_lines.delivery_failed(delivery, error)
            outcome = outcomes.crashed(delivery, error)
        self._conclude(delivery, outcome)

    # -- in a thread

    def _start_in_thread(self, delivery: Delivery) -> None:
        lease = Lease(self._threads)
        guard = thread_limit(delivery.soft_time_limit)
        future = lease.submit(self._run_in_thread, delivery, guard)
        self._interrupts[delivery.job] = partial(_interrupt_in_thread, future, guard)
        self._stacks[delivery.job] = lambda: stack_texts.of_thread(guard.thread)
        future.add_done_callback(
            lambda ended: self._loop.call_soon_threadsafe(self._thread_run_ended, delivery, lease, ended)
        )

    def _run_in_thread(self, delivery: Delivery, guard: thread_limit) -> Outcome:
        if self._run is None:
            return execute(delivery, self.report, guard=guard)
        with guard:
            return self._run(delivery, self.report)

    def _thread_run_ended(self, delivery: Delivery, lease: Lease, future: Future[Outcome]) -> None:
        lease.release()
        if future.cancelled():
            self._conclude(delivery, None)
            return
        error = future.exception()
        if error is None:
            self._conclude(delivery, future.result())
        elif isinstance(error, CutShort):
            self._conclude(delivery, None)
        else:
            log_lines.delivery_failed(delivery, error)
            self._conclude(delivery, outcomes.crashed(delivery, error))


def _interrupt_in_thread(future: Future[Outcome], guard: thread_limit, hard: bool) -> bool:
    """Interrupt a run; one that waits for a thread never starts, since no thread may become free soon."""
    if hard:
        return future.cancel() or guard.interrupt(CutShort)
    return guard.interrupt(TaskTerminated)
