"""A child of the pools gevent and eventlet: each delivery runs in a greenlet; the main one reads the next.

The process was patched before Django was imported (``boot``): whatever waits in Python lets other greenlets run, and
what belongs to a thread belongs to a greenlet, such as Django's connections. Each delivery has a greenlet of its own: a
task may leave a timer that raises something in its greenlet later, which must not meet the next task nor the answer.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import Any

from taskq.conf import settings
from taskq.exceptions import SoftTimeLimitExceeded, TaskTerminated
from taskq.execution import execute, outcomes
from taskq.execution.interrupts import CutShort
from taskq.handover import Delivery, Outcome
from taskq.worker import log_lines

from . import frames, stack_texts
from .base import RunFn
from .child_many import ManyChild, ManyInbox
from .green_connections import BoundConnections
from .green_project import is_coroutine
from .greenlets import Greenlets, library
from .stack_thread import QUESTION

#: Seconds between two looks whether the last task has ended, once the child is to stop.
_LAST_LOOKS = 0.05


class _Stage(Enum):
    BEFORE = auto()
    INSIDE = auto()
    AFTER = auto()


class Guard:
    """Put around the function of one task: it can be interrupted in there, and nowhere else.

    ``seconds`` is the soft limit. What is raised comes when the greenlet waits, or lets others run.
    """

    def __init__(self, greenlets: Greenlets, seconds: float | None) -> None:
        self._greenlets = greenlets
        self._seconds = seconds
        self.greenlet: Any = None
        self._stage = _Stage.BEFORE
        self._asked: BaseException | None = None
        self._cancel: Callable[[], object] | None = None
        #: The hard end that was thrown.
        self._cut: CutShort | None = None

    def __enter__(self) -> None:
        self._stage = _Stage.INSIDE
        self.greenlet = self._greenlets.current()
        if self._asked is not None:
            # There will be no __exit__.
            self._stage = _Stage.AFTER
            raise self._asked
        if self._seconds:
            error = SoftTimeLimitExceeded(self._seconds)
            self._cancel = self._greenlets.later(self._seconds, self._throw, error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stage = _Stage.AFTER
        if self._cancel is not None:
            self._cancel()
        if self._cut is not None and not isinstance(error, CutShort):
            # The function has swallowed it; what it returns or raises is not the task's end.
            raise self._cut

    def interrupt(self, error: BaseException, thrown: Callable[[], object] = lambda: None) -> None:
        """Have ``error`` raised in the function, as soon as it can be; ``thrown`` is called before."""
        if self._stage is _Stage.BEFORE:
            thrown()
            self._asked = error
        elif self._stage is _Stage.INSIDE:
            self._greenlets.later(0, self._throw, error, thrown)

    def _throw(self, error: BaseException, thrown: Callable[[], object] = lambda: None) -> None:
        # In the loop: the greenlet waits for something. It may have left the function since this was asked for.
        if self._stage is _Stage.INSIDE:
            thrown()
            if isinstance(error, CutShort):
                self._cut = error
            self.greenlet.throw(error)


class GreenChild(ManyChild):
    """The greenlets of one child. With ``run``, each delivery is run by that function."""

    def __init__(
        self, sock: socket.socket, permits_fd: int, options: frames.ChildOptions, run: RunFn | None = None
    ) -> None:
        super().__init__(sock, permits_fd, options)
        # To these libraries a blocking socket always waits, even where a call is told not to.
        reading = sock.dup()
        reading.setblocking(False)
        self._inbox = ManyInbox(reading, permits_fd)
        self._run = run
        self._greenlets = library(options.kind)
        self._connections = BoundConnections(settings.GREEN_DATABASE_CONNECTIONS)
        self._guards: dict[int, Guard] = {}
        self._questions: int | None = None

    def work(self) -> int:
        """Read what comes until the main process asks to stop and nothing runs."""
        self.up()
        frames_come = [self._sock.fileno(), self._permits_fd]
        descriptors = frames_come + ([self._questions] if self._questions is not None else [])
        while not self.finished:
            readable, _, _ = select.select(descriptors, [], [], _LAST_LOOKS if self._inbox.stopping else None)
            if self._questions in readable:
                self._answer_question(os.read(self._questions, QUESTION.size))
            if any(fd in readable for fd in frames_come):
                self.on_readable()
        return 0

    def listen(self, questions: int, ending: int) -> None:
        """Answer between greenlets where a task is: a thread of the system's would not see them."""
        self._questions = questions

    def stack(self, job: int) -> str:
        """Return where a greenlet waits: this one runs now."""
        return stack_texts.of_frame(getattr(self._guards[job].greenlet, "gr_frame", None))

    def _answer_question(self, data: bytes) -> None:
        with suppress(struct.error, KeyError):
            self.answer_stack(*QUESTION.unpack(data))

    def start(self, delivery: Delivery) -> None:
        """Have a new greenlet run a delivery."""
        self._guards[delivery.job] = Guard(self._greenlets, delivery.soft_time_limit)
        self._greenlets.spawn(self._serve, delivery)

    def interrupt(self, job: int, *, hard: bool) -> bool:
        """Interrupt the run of a job; whether it was ended for good is known when the exception is raised."""
        if hard:
            self._guards[job].interrupt(CutShort(), lambda: self._ended.add(job))
        else:
            self._guards[job].interrupt(TaskTerminated("terminated"))
        return False

    def _serve(self, delivery: Delivery) -> None:
        """Run a delivery in this greenlet, and have another one answer, whatever is raised in here."""
        outcome: Outcome | None = None
        try:
            outcome = self._outcome(delivery)
            self._connections.give_back()
        finally:
            # Nothing waits from here on, so no timer of the task can interrupt it.
            self._greenlets.spawn(self._conclude, delivery, outcome)

    def _conclude(self, delivery: Delivery, outcome: Outcome | None) -> None:
        del self._guards[delivery.job]
        self.answer(delivery, outcome)

    def _outcome(self, delivery: Delivery) -> Outcome | None:
        guard = self._guards[delivery.job]
        try:
            if is_coroutine(delivery.name):
                raise RuntimeError(
                    f"The pool {self._options.kind} can't run async def tasks, which need an event loop: use asyncio."
                )
            if self._run is None:
                return execute(delivery, self.report, guard=guard)
            with guard:
                return self._run(delivery, self.report)
        except CutShort:
            return None
        except BaseException as error:
            log_lines.delivery_failed(delivery, error)
            return outcomes.crashed(delivery, error)
