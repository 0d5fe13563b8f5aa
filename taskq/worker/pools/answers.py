"""What other threads say to the loop: a queue that wakes it."""

from __future__ import annotations

import os
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

    def put(self, *words: Any) -> None:
        """Say something, from any thread. One write wakes the loop for all that is said until it looks."""
        self._waiting.append(words)
        if not self._signalled:
            self._signalled = True
            # The pipe is closed when the pool has been given up with a task still running.
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
        """Leave the loop."""
        self._hub.remove(self._read_fd)
        for fd in (self._read_fd, self._write_fd):
            os.close(fd)

    def _on_readable(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._read_fd, 4096)
        self.hear()
