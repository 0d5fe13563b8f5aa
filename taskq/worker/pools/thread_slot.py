"""One slot of the threads pool: a thread and its deliveries."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db import connections

from taskq.exceptions import TaskTerminated
from taskq.execution import execute, outcomes
from taskq.handover import Delivery, Outcome
from taskq.worker import log_lines

from .base import MAX_IN_FLIGHT, RunFn, Unfinished
from .soft_limits import thread_limit


class ThreadSlot:
    """A slot; see ``base.Slot``. ``post(slot, outcome or report)`` is called in the slot's thread.

    The loop's thread calls the public methods. The thread runs its deliveries within ``around()``, each by ``run``, or
    by ``execute`` if that is ``None``.
    """

    def __init__(
        self,
        index: int,
        run: RunFn | None,
        post: Callable[..., None],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.index = index
        self.pid: int | None = os.getpid()
        self.busy_since: float | None = None
        #: No delivery is accepted any more.
        self.closing = False
        self._run = run
        self._post = post
        self._around = around
        self._pending: deque[Delivery] = deque()
        # Shared by the two threads, under this lock.
        self._condition = threading.Condition(threading.Lock())
        self._waiting: deque[Delivery] = deque()
        self._stopping = False
        self._abandoned = False
        #: The job that runs, and what can interrupt it; whether it was asked to end.
        self._job = 0
        self._guard = thread_limit(None)
        self._asked = False
        self._thread = threading.Thread(target=self._work, name=f"taskq-{index}", daemon=True)
        self._thread.start()

    @property
    def in_flight(self) -> int:
        """How many deliveries were handed over and have no outcome yet."""
        return len(self._pending)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._pending

    @property
    def accepting(self) -> bool:
        """Whether deliveries may be handed over."""
        return self.room > 0

    @property
    def room(self) -> int:
        """How many deliveries may be handed over now."""
        return 0 if self.closing else MAX_IN_FLIGHT - len(self._pending)

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Have the thread run these, in this order."""
        if not deliveries:
            return
        if not self._pending:
            self.busy_since = time.monotonic()
        self._pending.extend(deliveries)
        with self._condition:
            self._waiting.extend(deliveries)
            self._condition.notify()

    def take_back(self, limit: int | None = None) -> list[Delivery]:
        """Take back the last deliveries that have not started, at most ``limit``, and return them in order."""
        with self._condition:
            count = len(self._waiting) if limit is None else min(limit, len(self._waiting))
            for _ in range(count):
                self._waiting.pop()
        back = [self._pending.pop() for _ in range(count)]
        if not self._pending:
            self.busy_since = None
        back.reverse()
        return back

    def answered(self) -> None:
        """The delivery at the head has an outcome."""
        self._pending.popleft()
        self.busy_since = time.monotonic() if self._pending else None

    def unfinished(self) -> list[Unfinished]:
        """Return the deliveries without an outcome."""
        with self._condition:
            started = len(self._pending) - len(self._waiting)
        return [Unfinished(delivery, number < started) for number, delivery in enumerate(self._pending)]

    def ask_to_stop(self) -> None:
        """End the thread when it has run its deliveries."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def abandon(self) -> None:
        """End the thread after the task that it runs now; the other deliveries stay ``unfinished``."""
        with self._condition:
            self._abandoned = self._stopping = True
            self._condition.notify()

    @property
    def ident(self) -> int | None:
        """The number of the thread."""
        return self._thread.ident

    def runs(self, job: int) -> bool:
        """Tell whether the thread runs the delivery of ``job`` now."""
        return any(each.started and each.delivery.job == job for each in self.unfinished())

    def ask_to_end(self, job: int) -> bool:
        """Raise ``TaskTerminated`` in the task of ``job`` if it runs now, once; tell whether that was done."""
        with self._condition:
            if self._job != job or self._asked:
                return False
            self._asked = self._guard.interrupt(TaskTerminated)
            return self._asked

    @property
    def alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, at most ``timeout`` seconds."""
        self._thread.join(timeout)

    def _work(self) -> None:
        try:
            with self._around():
                while (delivery := self._next()) is not None:
                    self._post(self, self._perform(delivery))
                    del delivery  # it may be large, and the next may be long in coming
        finally:
            connections.close_all()

    def _next(self) -> Delivery | None:
        with self._condition:
            while not self._waiting and not self._stopping:
                self._condition.wait()
            if self._abandoned or not self._waiting:
                return None
            delivery = self._waiting.popleft()
            self._job, self._asked = delivery.job, False
            self._guard = thread_limit(delivery.soft_time_limit)
            return delivery

    def _perform(self, delivery: Delivery) -> Outcome:
        try:
            if self._run is not None:
                return self._run(delivery, self._report)
            return execute(delivery, self._report, guard=self._guard)
        except BaseException as error:
            log_lines.delivery_failed(delivery, error)
            return outcomes.crashed(delivery, error)

    def _report(self, report: Any) -> None:
        self._post(self, report)
