"""A thread in each child that answers where its task is, while the task runs: the child itself reads nothing then.

It waits in the system for a question and holds nothing meanwhile: no lock, and no signal comes to it, so that each
finds the task's thread as if it were alone. While a task forks it is not there: Python warns of forks beside threads.
Signals wait meanwhile: what a handler raises in a hook of a fork is printed by Python, and lost.
"""

from __future__ import annotations

import _thread
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

#: A question: the job whose stack is wanted. No job has the number of the question that ends the thread.
QUESTION = struct.Struct("<q")
_LEAVE = 0
#: Signals that a thread's own errors raise.
_OWN = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
#: Seconds in which the thread has to end before a fork.
_PATIENCE = 1.0
#: Seconds between two looks at another thread.
_MOMENT = 0.0002


class _Fork(threading.local):
    """What a thread has done before its fork, and undoes after it: ended the other thread, and blocked signals."""

    paused = False
    mask: Collection[int] | None = None


class StackThread:
    """Calls ``answer`` with each job that is asked for in the pipe ``questions``, whose other end is ``ending``."""

    def __init__(self, questions: int, ending: int, answer: Callable[[int], None]) -> None:
        self._questions = questions
        self._ending = ending
        self._answer = answer
        self._owner = os.getpid()
        self._fork = _Fork()
        #: Whether the hook after a fork runs.
        self._resuming = False
        #: Held while there is a thread.
        self._runs = _thread.allocate_lock()

    def start(self) -> None:
        """Start the thread, now and after each fork; without one nothing is answered."""
        os.register_at_fork(before=self._pause, after_in_parent=self._resume, after_in_child=self._unblock)
        self._begin()

    def stop(self) -> bool:
        """End the thread, and wait for it; tell whether it ran and has ended."""
        # A process that a task has forked has no such thread.
        if self._owner != os.getpid() or not self._runs.locked():
            return False
        with suppress(OSError):
            os.write(self._ending, QUESTION.pack(_LEAVE))
            if self._runs.acquire(timeout=_PATIENCE):
                self._runs.release()
                return True
        return False

    def _pause(self) -> None:
        fork = self._fork
        fork.paused, fork.mask = False, None
        if self._owner != os.getpid():
            return
        # Asked for first: the call that blocks may raise what a signal before it raises.
        fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        signal.pthread_sigmask(signal.SIG_BLOCK, _foreign())
        fork.paused = self.stop()
        if fork.paused:
            _wait_for_one_thread()

    def _resume(self) -> None:
        self._resuming = True
        paused, self._fork.paused = self._fork.paused, False
        if paused:
            # The thread raises them when this hook is over.
            self._begin(_taken())
        self._unblock()
        self._resuming = False

    def _unblock(self) -> None:
        mask, self._fork.mask = self._fork.mask, None
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _begin(self, late: Sequence[signal.Signals] = ()) -> None:
        if not self._runs.acquire(blocking=False):
            return
        with _no_signals():
            try:
                _thread.start_new_thread(self._work, (late,))
            except RuntimeError:  # the system has no more threads
                self._runs.release()

    def _work(self, late: Sequence[signal.Signals]) -> None:
        try:
            while late and self._resuming:
                time.sleep(_MOMENT)
            for number in late:
                _thread.interrupt_main(number)
            while True:
                data = os.read(self._questions, QUESTION.size)
                if len(data) < QUESTION.size or (job := QUESTION.unpack(data)[0]) == _LEAVE:
                    return
                # Whatever goes wrong with an answer: nobody but its asker misses it.
                with suppress(Exception):
                    self._answer(job)
        finally:
            self._runs.release()


@contextmanager
def _no_signals() -> Iterator[None]:
    """Start threads that get no signals."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _foreign())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _foreign() -> Collection[int]:
    return signal.valid_signals() - _OWN


def _taken() -> list[signal.Signals]:
    """Take off the blocked signals that have a handler in Python; return them."""
    found = [number for number in signal.sigpending() if callable(signal.getsignal(number))]
    return [number for number in found if signal.sigtimedwait([number], 0) is not None]


def _wait_for_one_thread() -> None:
    """Wait until the system has seen a thread's end, some microseconds after the thread's last word."""
    for _ in range(10 if sys.version_info >= (3, 12) else 0):
        try:
            if len(os.listdir("/proc/self/task")) == 1:
                return
        except OSError:
            return
        time.sleep(_MOMENT)
