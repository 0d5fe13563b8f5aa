"""Soft time limits: ``SoftTimeLimitExceeded`` raised inside a task while it runs.

Context managers for ``taskq.execution``, which puts them around the user's function alone. Neither interrupts code that
does not return to Python: hard limits do.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from enum import Enum
from types import FrameType, TracebackType
from typing import Any

from taskq.exceptions import SoftTimeLimitExceeded
from taskq.execution.interrupts import CutShort

_Kind = type[BaseException] | None

#: Seconds until the next try of a limit that ran out before the task had started.
_AGAIN = 0.001


class _Stage(Enum):
    """The exception may be raised only while the task runs: elsewhere it would interrupt taskq's own code."""

    ENTERING = 0
    RUNNING = 1
    OVER = 2


class signal_limit:
    """Limits the main thread of a process to ``seconds`` by ``setitimer``. May be nested."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stage = _Stage.ENTERING
        self._handler: Any = None
        self._outer = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()
        self._handler = signal.signal(signal.SIGALRM, self._expire)
        self._outer = signal.setitimer(signal.ITIMER_REAL, max(self._seconds, _AGAIN))[0]
        self._stage = _Stage.RUNNING

    def __exit__(self, kind: _Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stage = _Stage.OVER
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
        if self._outer:
            left = self._outer - (time.monotonic() - self._began)
            signal.setitimer(signal.ITIMER_REAL, max(left, _AGAIN))

    def _expire(self, number: int, frame: FrameType | None) -> None:
        if self._stage is _Stage.ENTERING:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        elif self._stage is _Stage.RUNNING:
            self._stage = _Stage.OVER
            raise SoftTimeLimitExceeded(self._seconds)


class thread_limit:
    """Limits the calling thread to ``seconds`` by an asynchronous exception from a timer's thread.

    Another thread can ``interrupt`` it too. Without ``seconds`` there is no timer.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._stage = _Stage.ENTERING
        self._lock = threading.Lock()
        #: The number of the thread in the block, 0 before it.
        self.thread = 0
        self._asked: type[BaseException] | None = None
        self._timer: threading.Timer | None = None
        #: Whether anything was raised, and whether that was the hard end.
        self._raised = self._cut = False

    def __enter__(self) -> None:
        self.thread = threading.get_ident()
        if self._seconds and self._asked is None:
            self._timer = threading.Timer(self._seconds, self.interrupt, (SoftTimeLimitExceeded,))
            self._timer.daemon = True
            self._timer.name = "taskq-soft-limit"
            self._timer.start()
        with self._lock:
            asked = self._asked
            self._stage = _Stage.RUNNING if asked is None else _Stage.OVER
        if asked is not None:
            raise asked

    def __exit__(self, kind: _Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._stage = _Stage.OVER
        if self._raised:
            # An exception that has not arrived yet would interrupt the code that comes next.
            _raise_in(self.thread, None)
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(error, SoftTimeLimitExceeded) and not error.args:
            error.args = (self._seconds,)
        if self._cut and not isinstance(error, CutShort):
            # The function has swallowed it, or ended before it came: what it returns or raises is not the task's end.
            raise CutShort

    def interrupt(self, error: type[BaseException]) -> bool:
        """Raise ``error`` in the block as soon as it runs Python code; return false if it is over."""
        with self._lock:
            if self._stage is _Stage.ENTERING:
                self._asked = error
            elif self._stage is _Stage.RUNNING:
                self._raised, self._cut = True, self._cut or error is CutShort
                _raise_in(self.thread, error)
            return self._stage is not _Stage.OVER


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise ``error`` in a thread as soon as it runs Python code; ``None`` cancels one that has not arrived."""
    pointer = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), pointer)
