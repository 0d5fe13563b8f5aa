"""Writes to a socket without ever blocking the loop.

Data that the kernel does not take at once waits in memory, in order, until the
socket has room. Used by the main process for its children.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from contextlib import suppress

from .hub import Hub


class WriteBuffer:
    """The writing side of a non-blocking socket. The socket itself belongs to the caller."""

    def __init__(self, sock: socket.socket, hub: Hub) -> None:
        self._sock = sock
        self._hub = hub
        self._waiting: deque[memoryview] = deque()
        # A duplicate: the poller keeps one set of flags for each descriptor, and the socket's is for reading.
        self._writer_fd: int | None = None

    def send(self, data: bytes) -> None:
        """Write ``data`` now or as soon as there is room. If the reader is gone, nothing happens."""
        if self._waiting:
            self._waiting.append(memoryview(data))
            return
        sent = self._write(data)
        if sent < len(data):
            self._waiting.append(memoryview(data)[sent:])
            self._listen()

    def flush(self) -> None:
        """Write the data that waits, as far as there is room."""
        while self._waiting:
            head = self._waiting[0]
            sent = self._write(head)
            if sent < len(head):
                self._waiting[0] = head[sent:]
                return
            self._waiting.popleft()
        self._stop_listening()

    def close(self) -> None:
        """Drop the data that waits, and leave the loop."""
        self._waiting.clear()
        self._stop_listening()

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            # The process at the other end is gone; the pool finds that out by itself.
            return len(data)

    def _listen(self) -> None:
        if self._writer_fd is None:
            self._writer_fd = os.dup(self._sock.fileno())
            self._hub.add_writer(self._writer_fd, self.flush)

    def _stop_listening(self) -> None:
        if self._writer_fd is not None:
            self._hub.remove(self._writer_fd)
            with suppress(OSError):
                os.close(self._writer_fd)
            self._writer_fd = None
