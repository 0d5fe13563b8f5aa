"""The main process's end of the connection to one child: a socket and a pipe of permits.

It knows which deliveries are in the child and how many of them have started, and takes the others back. It never
blocks. It reads the child's frames; the pool handles them.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from taskq.handover import Delivery, Outcome, Report

from . import frames
from .hub import Hub
from .permits import MAX_PERMITS, Permits
from .write_buffer import WriteBuffer

_READ_SIZE = 256 * 1024


class CutShort(NamedTuple):
    """A task has ended because the main process had it ended. ``memory`` is as in ``Outcome``."""

    job: int
    memory: int


class Stack(NamedTuple):
    """Where a task is, as text; an empty text if it does not run."""

    job: int
    text: str


Answer = Outcome | Report | CutShort | Stack | int | None


class ChildConnection:
    """``pending`` holds the deliveries in the child that have no outcome yet, by job, in the order of their starts.

    ``arrived`` holds answers that were not handled yet: outcomes, reports, the pid of a child that has come up, the
    ``CutShort`` of a task that was ended, and ``None`` if the child starts no other delivery.
    ``fault`` says why nothing more can be read from the child, if so.
    """

    def __init__(self, hub: Hub) -> None:
        self._sock, self.child_sock = socket.socketpair()
        self._sock.setblocking(False)
        self._permits = Permits()
        self._write_buffer = WriteBuffer(self._sock, hub)
        self._reader = frames.FrameReader(frames.LARGEST_ANSWER)
        self._generation = 0
        self.pending: dict[int, Delivery] = {}
        self.arrived: deque[Answer] = deque()
        self.closed = False
        self.fault = ""

    @property
    def child_fds(self) -> tuple[int, int]:
        """The child's ends: its socket and the reading end of the permits."""
        return self.child_sock.fileno(), self._permits.read_fd

    def fileno(self) -> int:
        """Return the descriptor that is readable when the child has sent a frame, or ended."""
        return self._sock.fileno()

    def hand_over(self, deliveries: Sequence[Delivery]) -> None:
        """Send deliveries and as many permits; they run in this order."""
        for part in frames.parts(frames.DELIVERIES, [delivery.to_wire() for delivery in deliveries]):
            self._write_buffer.send(part)
        self._permits.give(len(deliveries), self._generation)
        self.pending.update((delivery.job, delivery) for delivery in deliveries)

    def take_back(self, limit: int | None = None) -> list[Delivery]:
        """Take back the last deliveries that have not started, at most ``limit``, and return them in order."""
        count = len(self.pending) if limit is None else min(limit, len(self.pending))
        taken = self._permits.take(count) if count else 0
        if not taken:
            return []
        # The child reads this frame before it starts a delivery with a permit of the new generation.
        self._generation += 1
        self._write_buffer.send(frames.encode(frames.TAKEN_BACK, taken))
        back = [self.pending.popitem()[1] for _ in range(taken)]
        back.reverse()
        return back

    def withdraw(self, job: int) -> bool:
        """Take back one delivery, wherever it stands; return whether that came before its start."""
        unused = self._permits.take(MAX_PERMITS) if job in self.pending else 0
        if not unused:
            return False
        if withdrawn := job in list(self.pending)[-unused:]:
            self._generation += 1
            self._write_buffer.send(frames.encode(frames.WITHDRAWN, job))
            del self.pending[job]
        # Of the new generation: the child must not start the delivery that was withdrawn in the place of the next one.
        self._permits.give(unused - withdrawn, self._generation)
        return withdrawn

    def end_task(self, job: int, how: str) -> None:
        """Have a child that runs many deliveries end one of them: see ``frames.END_TASK``."""
        self._write_buffer.send(frames.encode(frames.END_TASK, (job, how)))

    def hold(self) -> None:
        """Let no delivery start until ``release``: it is then certain which one runs."""
        self._permits.hold()

    def release(self) -> None:
        """Undo ``hold``."""
        self._permits.release()

    def started(self) -> int:
        """Return how many of ``pending``, from its head, have started; exact once all frames are read."""
        return max(0, len(self.pending) - self._permits.unused())

    def ask_to_stop(self) -> None:
        """Ask the child to end. No delivery may be handed over after this."""
        self._write_buffer.send(frames.encode(frames.STOP, None))

    def flush(self) -> None:
        """Write the bytes for which the child's socket had no room, where the loop does not write."""
        self._write_buffer.flush()

    @property
    def readable(self) -> bool:
        """Whether more can be read from the child."""
        return not (self.closed or self.fault)

    def receive(self) -> bool:
        """Read once from the child into ``arrived``; return whether there was anything."""
        if not self.readable:
            return False
        try:
            data = self._sock.recv(_READ_SIZE)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            # The child ended with deliveries unread. Its own frames came before this error.
            data = b""
        if not data:
            self.closed = True
            return False
        try:
            self.arrived.extend(answer(*frame) for frame in self._reader.feed(data))
        except frames.UnreadableError as error:
            self.fault = f"its answers can't be read: {error}"
        return True

    def close_child_end(self) -> None:
        """Close this process's copy of the child's socket, once a copy is on its way to the child."""
        self.child_sock.close()

    def close(self) -> None:
        """Close all descriptors; ``pending`` stays."""
        self._write_buffer.close()
        self._sock.close()
        self.child_sock.close()
        self._permits.close()


def answer(kind: int, payload: Any) -> Answer:
    """Return the answer in a child's frame. Raises ``UnreadableError`` if there is none."""
    try:
        if kind == frames.OUTCOME:
            return Outcome.from_wire(payload)
        if kind == frames.REPORT:
            return Report.from_wire(payload)
        if kind == frames.UP:
            return int(payload)
        if kind == frames.CUT_SHORT:
            return CutShort(*payload)
        if kind == frames.STACK:
            return Stack(*payload)
        if kind == frames.LEAVING:
            return None
    except (TypeError, ValueError) as error:
        raise frames.UnreadableError(f"a frame has other fields: {error}") from error
    raise frames.UnreadableError(f"a child sends no frames of kind {kind!r}")
