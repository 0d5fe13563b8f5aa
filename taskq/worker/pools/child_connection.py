"""The main process's end of what connects it to one child: a socket and a permit pipe.

It knows which deliveries are in the child, which of them can have begun, and
takes the others back. It never blocks. What the child says is put together into
frames here and acted on by the pool.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence

from taskq.handover import Delivery

from . import frames
from .loop import Loop
from .permits import Permits
from .write_buffer import Outgoing

_READ_SIZE = 256 * 1024


class Lane:
    """One child's lane. ``pending`` holds what was handed over and has given no outcome, in order."""

    def __init__(self, hub: Loop) -> None:
        self._sock, self.child_sock = socket.socketpair()
        self._sock.setblocking(False)
        self._permits = Permits()
        self._outgoing = Outgoing(self._sock, hub)
        self._reader = frames.FrameReader()
        self._generation = 0
        self.pending: deque[Delivery] = deque()
        self.arrived: deque[frames.Frame] = deque()
        self.closed = False

    @property
    def child_fds(self) -> tuple[int, int]:
        """The child's ends: its socket and the reading end of the permits."""
        return self.child_sock.fileno(), self._permits.read_fd

    def fileno(self) -> int:
        """Return the descriptor that is readable when the child says something."""
        return self._sock.fileno()

    def hand_over(self, deliveries: Sequence[Delivery]) -> None:
        """Send deliveries and as many permits; they run in this order."""
        self._outgoing.send(frames.encode(frames.DELIVERIES, [delivery.to_wire() for delivery in deliveries]))
        self._permits.give(len(deliveries), self._generation)
        self.pending.extend(deliveries)

    def take_back(self, limit: int | None = None) -> list[Delivery]:
        """Take back the last deliveries that have not begun, at most ``limit``, and return them in order."""
        count = len(self.pending) if limit is None else min(limit, len(self.pending))
        taken = self._permits.take(count) if count else 0
        if not taken:
            return []
        # Whatever gets a permit from now on has read this frame before it starts.
        self._generation += 1
        self._outgoing.send(frames.encode(frames.TAKEN_BACK, taken))
        back = [self.pending.pop() for _ in range(taken)]
        back.reverse()
        return back

    def hold(self) -> None:
        """Let nothing begin until ``release``: what runs now is then certain."""
        self._permits.hold()

    def release(self) -> None:
        """Undo ``hold``."""
        self._permits.release()

    def started(self) -> int:
        """Return how many of ``pending``, from its head, have begun; exact once all frames are read."""
        return max(0, len(self.pending) - self._permits.left())

    def ask_to_stop(self) -> None:
        """Ask the child to end. Nothing may be handed over after this."""
        self._outgoing.send(frames.encode(frames.STOP, None))

    def flush(self) -> None:
        """Write what the child's socket had no room for; the loop does it otherwise."""
        self._outgoing.flush()

    def receive(self) -> bool:
        """Read once what the child has written into ``arrived``; false when there is nothing at present."""
        if self.closed:
            return False
        try:
            data = self._sock.recv(_READ_SIZE)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            # It ended with deliveries unread. What it wrote itself came before this error.
            data = b""
        if not data:
            self.closed = True
            return False
        self.arrived.extend(self._reader.feed(data))
        return True

    def drop_child_end(self) -> None:
        """Close this process's copy of the child's socket, once the child's own is on its way."""
        self.child_sock.close()

    def close(self) -> None:
        """Close all descriptors; ``pending`` stays."""
        self._outgoing.close()
        self._sock.close()
        self.child_sock.close()
        self._permits.close()
