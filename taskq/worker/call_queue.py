"""Calls from any thread or signal handler to one other thread, which is woken by a descriptor.

Used between the loop and the store thread, by signal handlers, and by the threads pool. Nothing here waits.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class CallQueue:
    """Calls for the thread that watches ``fileno``: ``post`` from anywhere, ``run`` on that thread."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._read_fd, self._write_fd = os.pipe()
        for fd in (self._read_fd, self._write_fd):
            os.set_blocking(fd, False)
            # There is no close(): a thread that was left behind may be about to write, and by then the number could
            # be another file's. Whoever can write holds this object.
            weakref.finalize(self, os.close, fd).atexit = False

    def fileno(self) -> int:
        """Return the descriptor that is readable while there are calls."""
        return self._read_fd

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Have ``call(*args)`` made by the other thread, in the order of posting."""
        self._calls.append((call, args))
        self.wake()

    def wake(self) -> None:
        """Wake the other thread, even if there is no call."""
        # A full pipe wakes it too. A flag that saves the write is not safe: an asynchronous exception, such as a soft
        # time limit's, could come between the two, and nothing would wake the thread any more.
        try:  # noqa: SIM105 - suppress() would take as long as the write
            os.write(self._write_fd, b"\0")
        except BlockingIOError:
            pass

    def run(self) -> None:
        """Make the calls that are there. What they post is made by the next ``run``: its thread has other work too."""
        # First of all: a call that is posted from here on is made now, or wakes again.
        with suppress(BlockingIOError):
            os.read(self._read_fd, 65536)
        try:
            for _ in range(len(self._calls)):
                call, args = self._calls.popleft()
                call(*args)
        except BaseException:
            self.wake()
            raise
