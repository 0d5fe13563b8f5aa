"""The permits of one child: a pipe that says what it may start, shared with the main process.

The main process puts one permit a delivery into the pipe; the child takes one
before it starts one. To take deliveries back the main process reads permits
itself: as many as it got out, so many of the child's last deliveries will not
start. The pipe does not block, and each permit goes to one reader.

A permit carries the *generation* it was given in: how many times the main
process had taken deliveries back before. A child that gets a permit of a later
generation than it knows of reads its socket until it has caught up, so it never
starts what was taken back, and needs to look at its socket for no other reason.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
from contextlib import suppress

#: So many permits are written in one piece (POSIX: PIPE_BUF is at least 512 bytes), and fit into an empty pipe.
MAX_PERMITS = select.PIPE_BUF // 4

#: Generations count up to this and start again at 0.
GENERATIONS = 0xFFFFFFFF

_PERMIT = struct.Struct("=I")
_SIZE = _PERMIT.size


class Permits:
    """The main process's end: both ends of the pipe, and what it has taken out for a moment."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._held = b""

    def give(self, count: int, generation: int) -> None:
        """Let the child start ``count`` more deliveries."""
        os.write(self._write_fd, _PERMIT.pack(generation & GENERATIONS) * count)

    def take(self, count: int) -> int:
        """Take back at most ``count`` permits and return how many there were."""
        held = min(count, len(self._held) // _SIZE)
        self._held = self._held[held * _SIZE :]
        more = self._read(count - held) if count > held else b""
        return held + len(more) // _SIZE

    def hold(self) -> None:
        """Take out all permits for a moment: the child starts nothing more until ``release``."""
        self._held += self._read(MAX_PERMITS)

    def release(self) -> None:
        """Put back what ``hold`` took out."""
        held, self._held = self._held, b""
        if held:
            os.write(self._write_fd, held)

    def left(self) -> int:
        """Return how many deliveries the child has not been able to start yet."""
        in_pipe = fcntl.ioctl(self.read_fd, termios.FIONREAD, b"\0\0\0\0")
        return int(_PERMIT.unpack(in_pipe)[0] + len(self._held)) // _SIZE

    def close(self) -> None:
        """Close both ends."""
        for fd in (self.read_fd, self._write_fd):
            with suppress(OSError):
                os.close(fd)

    def _read(self, count: int) -> bytes:
        try:
            return os.read(self.read_fd, count * _SIZE)
        except BlockingIOError:
            return b""


def take_permit(fd: int) -> int | None:
    """Take one permit in the child and return its generation, or ``None`` if there is none.

    Raises ``EOFError`` when the main process is gone.
    """
    try:
        permit = os.read(fd, _SIZE)
    except BlockingIOError:
        return None
    if not permit:
        raise EOFError
    return int(_PERMIT.unpack(permit)[0])
