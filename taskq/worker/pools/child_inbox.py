"""A child's end of its lane: deliveries and permits come in, in an order that is safe.

A child starts a delivery only with a permit, and only when it has read everything
that the main process said before it gave that permit. See ``permits``.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from typing import Any

from taskq.handover import Delivery

from . import frames
from .permits import GENERATIONS, take_permit

_READ_SIZE = 256 * 1024


class Inbox:
    """Reads the deliveries of one child. ``sock`` blocks, ``permits_fd`` does not."""

    def __init__(self, sock: socket.socket, permits_fd: int) -> None:
        self._sock = sock
        self._permits_fd = permits_fd
        self._reader = frames.FrameReader()
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._generation = 0
        self._stopping = False
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._poll.register(permits_fd, select.POLLIN)

    def next(self) -> Delivery | None:
        """Wait for the next delivery that may start; ``None`` when the child is to end.

        Raises ``EOFError`` when the main process is gone.
        """
        while (generation := take_permit(self._permits_fd)) is None:
            if self._stopping:
                return None
            self._wait()
        return self.permitted(generation)

    def wait_for_stop(self) -> None:
        """Start nothing more, and wait until the main process has taken back what waits and says stop."""
        while not self._stopping:
            self.receive()

    def permitted(self, generation: int) -> Delivery:
        """Return the delivery that a permit of this generation is for."""
        # Behind, not different: a permit may well be older than what has been read since. The count may wrap round.
        while 0 < (generation - self._generation) & GENERATIONS < GENERATIONS // 2 or not self._waiting:
            self.receive()
        return Delivery.from_wire(self._waiting.popleft())

    def receive(self) -> None:
        """Wait for something on the socket and take it in."""
        data = self._sock.recv(_READ_SIZE)
        if not data:
            raise EOFError
        for kind, payload in self._reader.feed(data):
            self._take_in(kind, payload)

    def _wait(self) -> None:
        """Wait for a permit or the socket; large deliveries may arrive in many pieces before their permit."""
        ready = {fd for fd, _ in self._poll.poll()}
        if self._sock.fileno() in ready:
            self.receive()

    def _take_in(self, kind: int, payload: Any) -> None:
        if kind == frames.DELIVERIES:
            self._waiting.extend(payload)
        elif kind == frames.TAKEN_BACK:
            for _ in range(payload):
                self._waiting.pop()
            self._generation = self._generation + 1 & GENERATIONS
        elif kind == frames.STOP:
            self._stopping = True
