"""The permits of one child: a pipe shared with the main process, with one permit for each delivery that may start.

The main process writes one permit for each delivery into the pipe; the child reads one before it starts a delivery. To
take deliveries back the main process reads permits itself: if it gets k of them, the last k deliveries in the child
will not start. The pipe does not block, and each permit goes to one reader.

A permit carries its *generation*: how many times the main process had taken deliveries back before it gave the permit.
A child that gets a permit of a newer generation than its own reads its socket until it has caught up. So it never
starts a delivery that was taken back, and reads its socket before a start for no other reason.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
from contextlib import suppress

#: The most permits that are written in one piece (POSIX: PIPE_BUF is at least 512 bytes) and fit into an empty pipe.
MAX_PERMITS = select.PIPE_BUF // 4

#: Generations count up to this and start again at 0.
GENERATIONS = 0xFFFFFFFF

_PERMIT = struct.Struct("=I")
_SIZE = _PERMIT.size


class Permits:
    """The main process's side: both ends of the pipe, and the permits that ``hold`` has taken out."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._held = b""

    def give(self, count: int, generation: int) -> None:
        """Let the child start ``count`` more deliveries."""
        os.write(self._write_fd, _PERMIT.pack(generation & GENERATIONS) * count)

    def take(self, count: int) -> int:
        """Take back at most ``count`` permits; return how many the child had not used."""
        held = min(count, len(self._held) // _SIZE)
        self._held = self._held[held * _SIZE :]
        more = self._read(count - held) if count > held else b""
        return held + len(more) // _SIZE

    def hold(self) -> None:
        """Take out all permits: the child starts no delivery until ``release``."""
        self._held += self._read(MAX_PERMITS)

    def release(self) -> None:
        """Put back the permits that ``hold`` took out."""
        held, self._held = self._held, b""
        if held:
            os.write(self._write_fd, held)

    def unused(self) -> int:
        """Return how many permits the child has not used: so many of its deliveries have not started."""
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
