"""The base of the children that run many deliveries at a time: what is the same in ``asyncio`` and with greenlets.

A subclass has the loop of its process. It calls ``on_readable`` when there is something in the socket or the pipe of
permits, and implements ``start``, which has one delivery run, and ``interrupt``. When a run has
ended it calls ``answer``. All of these are called on one thread, and only ``report`` on any.
"""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Any

from taskq import clock
from taskq.execution import outcomes
from taskq.forks import end_if_forked, forks
from taskq.handover import Delivery, Outcome, Report
from taskq.worker import log_lines
from taskq.worker.process.system import resident_kib

from . import frames
from .child_outbox import ChildOutbox
from .permits import GENERATIONS, take_permit
from .stack_thread import StackThread

_READ_SIZE = 256 * 1024


class ManyInbox:
    """Reads deliveries and permits without waiting; see ``child_inbox`` for the rule by which a delivery may start."""

    def __init__(self, sock: socket.socket, permits_fd: int) -> None:
        self._sock = sock
        self._permits_fd = permits_fd
        self._reader = frames.FrameReader()
        self._waiting: dict[int, tuple[Any, ...]] = {}
        self._generation = 0
        #: The generations of permits that were taken, and whose deliveries have not been read yet.
        self._owed: deque[int] = deque()
        self.stopping = False

    def receive(self) -> list[tuple[int, Any]]:
        """Read what is there; return the frames that are not about deliveries. Raises ``EOFError`` at the end."""
        others: list[tuple[int, Any]] = []
        try:
            data = self._sock.recv(_READ_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return others
        if not data:
            raise EOFError
        for kind, payload in self._reader.feed(data):
            if kind == frames.DELIVERIES:
                self._waiting.update((fields[0], fields) for fields in payload)
            elif kind == frames.WITHDRAWN:
                self._waiting.pop(payload, None)
                self._generation = self._generation + 1 & GENERATIONS
            elif kind == frames.STOP:
                self.stopping = True
            else:
                others.append((kind, payload))
        return others

    def startable(self) -> Iterator[Delivery]:
        """Yield the deliveries that may start now, each with a permit."""
        while (taken := take_permit(self._permits_fd)) is not None:
            self._owed.append(taken)
        while self._owed:
            # A permit of a newer generation waits for the frames before it. Generations wrap round.
            behind = 0 < (self._owed[0] - self._generation) & GENERATIONS < GENERATIONS // 2
            if behind or not self._waiting:
                return
            self._owed.popleft()
            yield Delivery.from_wire(self._waiting.pop(next(iter(self._waiting))))


class ManyChild(ABC):
    """One child. ``work`` runs its loop until ``finished``; it returns the exit code."""

    def __init__(self, sock: socket.socket, permits_fd: int, options: frames.ChildOptions) -> None:
        # The project may have set a default time-out for sockets.
        sock.setblocking(True)
        self._sock = sock
        self._permits_fd = permits_fd
        self._inbox = ManyInbox(sock, permits_fd)
        self._outbox = ChildOutbox(sock)
        self._options = options
        self._forks = forks()
        #: The deliveries that run, by job; those in ``_ended`` were interrupted for good.
        self._running: dict[int, Delivery] = {}
        self._ended: set[int] = set()

    @abstractmethod
    def work(self) -> int:
        """Run deliveries until the main process asks to stop; return the exit code. Calls ``up`` first."""

    @abstractmethod
    def start(self, delivery: Delivery) -> None:
        """Have a delivery run beside the others."""

    @abstractmethod
    def interrupt(self, job: int, *, hard: bool) -> bool:
        """Raise ``TaskTerminated`` in a running task, or end it for good if ``hard``; return whether it still runs."""

    @abstractmethod
    def stack(self, job: int) -> str:
        """Return where a running task is, as text. Called in any thread."""

    def listen(self, questions: int, ending: int) -> None:
        """Answer in a thread of its own where tasks are: the loop may be blocked by one."""
        StackThread(questions, ending, self.answer_stack).start()

    def answer_stack(self, job: int) -> None:
        """Tell the main process where a task is, in any thread."""
        self._outbox.send(frames.STACK, (job, self.stack(job) if job in self._running else ""))

    @property
    def finished(self) -> bool:
        """Whether the main process has asked to stop, and nothing runs."""
        return self._inbox.stopping and not self._running

    def up(self) -> None:
        """Tell the main process that deliveries may come."""
        end_if_forked(self._forks)  # by a receiver of worker_process_init
        self._outbox.send(frames.UP, os.getpid())

    def on_readable(self) -> None:
        """Read what is there, and start what may start. Raises ``EOFError`` when the main process is gone."""
        others = self._inbox.receive()
        # First: a task to be ended may have come with the same read, and its permit has been taken.
        for delivery in self._inbox.startable():
            clock.use(delivery.clock)
            self._running[delivery.job] = delivery
            self.start(delivery)
        for kind, payload in others:
            if kind == frames.END_TASK:
                self._end(*payload)

    def answer(self, delivery: Delivery, outcome: Outcome | None) -> None:
        """A run has ended. ``None`` is for a run that was ended and so has no outcome."""
        end_if_forked(self._forks)
        del self._running[delivery.job]
        memory = resident_kib() if self._options.max_memory else 0
        if delivery.job in self._ended:
            self._ended.discard(delivery.job)
            self._outbox.send(frames.CUT_SHORT, (delivery.job, memory))
            return
        if outcome is None:
            outcome = outcomes.crashed(delivery, RuntimeError("The run has no outcome."))
        outcome.memory = memory
        try:
            self._outbox.send(frames.OUTCOME, outcome.to_wire())
        except ValueError as error:
            log_lines.outcome_not_sent(delivery)
            self._outbox.send(frames.OUTCOME, outcomes.crashed(delivery, error).to_wire())

    def report(self, report: Report) -> None:
        """Send a state of a running task, from any thread."""
        self._outbox.send(frames.REPORT, report.to_wire())

    def _end(self, job: int, how: str) -> None:
        if job not in self._running:
            return  # It has just ended.
        hard = how == "hard"
        if self.interrupt(job, hard=hard) and hard:
            self._ended.add(job)
