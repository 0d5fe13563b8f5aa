"""A child's end of its connection to the main process: deliveries and permits come in.

A child starts a delivery only with a permit, and only when it has read all frames
that the main process sent before it gave that permit. See ``permits``.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from taskq.handover import Delivery

from . import frames
from .permits import GENERATIONS, take_permit

_READ_SIZE = 256 * 1024


class ChildInbox:
    """Reads the deliveries of one child. ``sock`` blocks, ``permits_fd`` does not; ``idle`` is called before a wait."""

    def __init__(self, sock: socket.socket, permits_fd: int, idle: Callable[[], None] = lambda: None) -> None:
        self._sock = sock
        self._permits_fd = permits_fd
        self._idle = idle
        self._reader = frames.FrameReader()
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._generation = 0
        self._stopping = False
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._poll.register(permits_fd, select.POLLIN)

    def next(self) -> Delivery | None:
        """Wait for the next delivery that may start; ``None`` when the child is to stop.

        Raises ``EOFError`` when the main process is gone.
        """
        while (generation := take_permit(self._permits_fd)) is None:
            if self._stopping:
                return None
            self._wait()
        return self.permitted(generation)

    def wait_for_stop(self) -> None:
        """Wait, without starting a delivery, until the main process has taken back the rest and asks to stop."""
        while not self._stopping:
            self.receive()

    def permitted(self, generation: int) -> Delivery:
        """Return the delivery that a permit of this generation is for."""
        # Read on only if the permit is newer: an older one is as good. Generations wrap round.
        while 0 < (generation - self._generation) & GENERATIONS < GENERATIONS // 2 or not self._waiting:
            self.receive()
        return Delivery.from_wire(self._waiting.popleft())

    def receive(self) -> None:
        """Wait for data on the socket, and handle the frames that it completes."""
        data = self._sock.recv(_READ_SIZE)
        if not data:
            raise EOFError
        for kind, payload in self._reader.feed(data):
            self._handle(kind, payload)

    def _wait(self) -> None:
        """Wait for a permit or the socket; large deliveries may arrive in many pieces before their permit."""
        self._idle()
        ready = {fd for fd, _ in self._poll.poll()}
        if self._sock.fileno() in ready:
            self.receive()

    def _handle(self, kind: int, payload: Any) -> None:
        if kind == frames.DELIVERIES:
            self._waiting.extend(payload)
        elif kind == frames.TAKEN_BACK:
            for _ in range(payload):
                self._waiting.pop()
            self._generation = self._generation + 1 & GENERATIONS
        elif kind == frames.STOP:
            self._stopping = True
