"""A child's end of its connection to the main process: answers go out. The only writer of the child's socket.

Reports come from any thread of a task, and from signal handlers. A frame is written whole before the next begins.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from typing import Any

from . import frames


class ChildOutbox:
    """Writes the frames of one child to ``sock``, which blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        #: Frames, each with the numbers of bytes that were written of it.
        self._unsent: deque[tuple[memoryview, list[int]]] = deque()
        # Reentrant: a signal handler may send while its thread does.
        self._lock = threading.RLock()
        self._writing = False

    def send(self, kind: int, payload: Any) -> None:
        """Write a frame. Raises ``ValueError`` if ``payload`` is not plain or too large, ``OSError`` if nobody reads.

        If a signal handler raises meanwhile, the rest of the frame is written before the next one.
        """
        data = frames.encode(kind, payload)
        if len(data) > frames.LARGEST_ANSWER:
            raise ValueError(f"An answer of {len(data)} bytes is above the limit of {frames.LARGEST_ANSWER}.")
        self._unsent.append((memoryview(data), []))
        with self._lock:
            # Otherwise this is a signal handler that has interrupted this thread's writing, which goes on after it.
            if not self._writing:
                self._write()

    def _write(self) -> None:
        try:
            self._writing = True
            while self._unsent:
                data, written = self._unsent[0]
                done = sum(written)
                if done == len(data):
                    self._unsent.popleft()
                else:
                    # One call, which no signal handler interrupts: after an exception the number is still known.
                    written.extend(map(self._sock.send, (data[done:],)))
        finally:
            self._writing = False
