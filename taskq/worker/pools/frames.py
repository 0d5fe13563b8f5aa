"""The protocol between the main process, the fork server and the children: frames on a stream.

A frame is a length of four bytes, most significant first, and ``marshal`` of ``(FORMAT, kind, payload)``. These
processes were forked from one, so they have one version of Python and ``marshal`` is safe between them; no other
process reads or writes it.
"""

from __future__ import annotations

import marshal
import struct
from typing import Any

from taskq.handover import FORMAT

Frame = tuple[int, Any]

# Main process to child.
DELIVERIES = 1  # a list of Delivery.to_wire()
TAKEN_BACK = 2  # how many of the last deliveries will not run in this child
STOP = 3  # None: end when every delivery has its outcome
# Child to main process.
UP = 11  # the child's pid: ready for deliveries
OUTCOME = 12  # Outcome.to_wire()
REPORT = 13  # Report.to_wire()
LEAVING = 14  # None: it starts no other delivery, and waits for STOP
# Main process to fork server.
SPAWN = 21  # (slot, title, most memory in KiB or 0); two descriptors come with it: socket, permits
SIGNAL = 22  # (slot, pid, signal number)
# Fork server to main process.
SPAWNED = 31  # (slot, pid)
NOT_SPAWNED = 32  # (slot, reason)
EXITED = 33  # (slot, pid, exit code, negative for a signal)

_LENGTH = struct.Struct(">I")


class FormatError(Exception):
    """A frame of another version of taskq."""


def encode(kind: int, payload: Any) -> bytes:
    """Return the frame for ``payload``; ``ValueError`` if it has values that aren't plain ones."""
    data = marshal.dumps((FORMAT, kind, payload))
    return _LENGTH.pack(len(data)) + data


class FrameReader:
    """Cuts the data of a stream into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take in ``data`` and return the frames that are complete now."""
        rest = self._rest
        rest += data
        frames: list[Frame] = []
        start, size = 0, len(rest)
        while size - start >= 4:
            end = start + 4 + _LENGTH.unpack_from(rest, start)[0]
            if end > size:
                break
            frames.append(_decode(memoryview(rest)[start + 4 : end]))
            start = end
        if start:
            del rest[:start]
        return frames


def _decode(data: memoryview) -> Frame:
    version, kind, payload = marshal.loads(data)
    if version != FORMAT:
        raise FormatError(f"A hand-over has format {version}, this process knows {FORMAT}.")
    return kind, payload
