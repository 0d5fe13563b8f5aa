"""Soft time limits: ``SoftTimeLimitExceeded`` raised inside a task while it runs.

Context managers for ``taskq.worker.execution``, which puts them around the
user's function alone. Neither stops code that never returns to Python: that is
what hard limits are for.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from taskq.exceptions import SoftTimeLimitExceeded

_Kind = type[BaseException] | None


class signal_limit:
    """Limits the main thread of a process to ``seconds`` by ``setitimer``. May be nested."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._handler: Any = None
        self._outer = 0.0
        self._armed = False
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()
        self._handler = signal.signal(signal.SIGALRM, self._expire)
        self._armed = True
        self._outer = signal.setitimer(signal.ITIMER_REAL, self._seconds)[0]

    def __exit__(self, kind: _Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
        if self._outer:
            left = self._outer - (time.monotonic() - self._began)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-6))

    def _expire(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise SoftTimeLimitExceeded(self._seconds)


class thread_limit:
    """Limits the calling thread to ``seconds`` by an asynchronous exception from a timer's thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._over = False
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.name = "taskq-soft-limit"

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, kind: _Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._over = True
        self._timer.cancel()
        # One that was raised but has not arrived yet would hit whatever comes next.
        _raise_in(self._thread, None)
        if isinstance(error, SoftTimeLimitExceeded) and not error.args:
            error.args = (self._seconds,)

    def _expire(self) -> None:
        with self._lock:
            if not self._over:
                _raise_in(self._thread, SoftTimeLimitExceeded)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    pointer = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), pointer)
