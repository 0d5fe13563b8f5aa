"""What other threads say to the loop: a queue that wakes it."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .loop import Loop


class Answers:
    """Calls ``heard(*words)`` on the loop's thread for each ``put(*words)``, in order."""

    def __init__(self, hub: Loop, heard: Callable[..., None]) -> None:
        self._hub = hub
        self._heard = heard
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._signalled = False
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        hub.add_reader(self._read_fd, self._on_readable)
        # Not in close(): a thread that was left behind may be about to write, and its number may be another file's by
        # then. Whoever can write holds this object.
        weakref.finalize(self, os.close, self._write_fd).atexit = False

    def put(self, *words: Any) -> None:
        """Say something, from any thread. One write wakes the loop for all that is said until it looks."""
        self._waiting.append(words)
        if not self._signalled:
            self._signalled = True
            # Nobody reads any more when the pool has been given up with a task still running.
            with suppress(OSError):
                os.write(self._write_fd, b"\0")

    def hear(self) -> bool:
        """Pass on what has been said; tell whether there was anything. Only on the loop's thread."""
        # Before looking: what is said after the last look writes again.
        self._signalled = False
        said = bool(self._waiting)
        while self._waiting:
            self._heard(*self._waiting.popleft())
        return said

    def close(self) -> None:
        """Leave the loop. What is said from now on is heard by nobody."""
        self._hub.remove(self._read_fd)
        os.close(self._read_fd)

    def _on_readable(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._read_fd, 4096)
        self.hear()
