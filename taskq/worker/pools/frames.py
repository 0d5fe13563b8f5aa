"""The protocol between the main process, the fork server and the children: frames on a stream.

A frame is a length of four bytes, most significant first, the same with each bit inverted, and ``marshal`` of
``(FORMAT, kind, payload)``. These processes were forked from one, so they have one version of Python and ``marshal`` is
safe between them; no other process reads or writes it. But a task can write into any descriptor of its child. So a
wrong length is noticed at once, and a reader waits for no frame above its limit.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from taskq.handover import FORMAT

Frame = tuple[int, Any]

# Main process to child.
DELIVERIES = 1  # a list of Delivery.to_wire()
TAKEN_BACK = 2  # how many of the last deliveries will not run in this child
STOP = 3  # None: end when every delivery has its outcome
WITHDRAWN = 4  # the job of a delivery that will not run in this child
END_TASK = 5  # (job, "soft" or "hard"): raise TaskTerminated in this task, or end it; for children that run many
# Child to main process.
UP = 11  # the child's pid: ready for deliveries
OUTCOME = 12  # Outcome.to_wire()
REPORT = 13  # Report.to_wire()
LEAVING = 14  # None: it starts no other delivery, and waits for STOP
CUT_SHORT = 15  # (job, memory): the task has ended because of END_TASK, and has no outcome
STACK = 16  # (job, text): where the task is; an empty text if it does not run
# Main process to fork server.
SPAWN = 21  # (child's number, *ChildOptions); two descriptors come with it: socket, permits
SIGNAL = 22  # (child's number, signal number)
PING = 23  # None: is answered by PONG
STACK_OF = 24  # (child's number, job): have the child answer with STACK
# Fork server to main process.
SPAWNED = 31  # (child's number, pid)
NOT_SPAWNED = 32  # (child's number, reason)
EXITED = 33  # (child's number, exit code, negative for a signal)
PONG = 34  # None

_HEADER = struct.Struct(">II")
_ALL_BITS = 0xFFFFFFFF
_LARGE = 1024 * 1024

#: The most bytes in a frame of a child.
LARGEST_ANSWER = 512 * 1024 * 1024


class ChildOptions(NamedTuple):
    """How a child is to be: ``max_tasks`` and ``max_memory`` (in KiB) are 0 if there is no limit.

    ``kind`` says what the child runs: deliveries one after the other (``prefork``), or many at a time (``asyncio``,
    ``gevent``, ``eventlet``). ``hostname`` is the node's name, for
    signals.
    """

    slot: int
    title: str
    max_tasks: int = 0
    max_memory: int = 0
    kind: str = "prefork"
    hostname: str = ""


class UnreadableError(Exception):
    """A stream that holds something else than frames, or frames of another version of taskq."""


def encode(kind: int, payload: Any) -> bytes:
    """Return the frame for ``payload``; ``ValueError`` if it has values that aren't plain ones."""
    return b"".join(parts(kind, payload))


def parts(kind: int, payload: Any) -> tuple[bytes, ...]:
    """Do ``encode``; a large frame comes in two parts, without a copy of it in one."""
    data = marshal.dumps((FORMAT, kind, payload))
    header = _HEADER.pack(len(data), len(data) ^ _ALL_BITS)
    return (header + data,) if len(data) < _LARGE else (header, data)


class FrameReader:
    """Cuts the data of a stream into frames of at most ``largest`` bytes."""

    def __init__(self, largest: int = _ALL_BITS) -> None:
        self._largest = largest
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in ``data`` and yield the frames that are complete now.

        Raises ``UnreadableError``, after the frames before it, at bytes that are no frame.
        """
        rest = self._rest
        rest += data
        start, size = 0, len(rest)
        while size - start >= 8:
            length, inverted = _HEADER.unpack_from(rest, start)
            if length ^ inverted != _ALL_BITS:
                raise UnreadableError("there is something else than frames in the stream")
            if length > self._largest:
                raise UnreadableError(f"a frame has {length} bytes, above the limit of {self._largest}")
            end = start + 8 + length
            if end > size:
                break
            yield _decode(memoryview(rest)[start + 8 : end])
            start = end
        if start:
            del rest[:start]


def _decode(data: memoryview) -> Frame:
    try:
        version, kind, payload = marshal.loads(data)
    except Exception as error:  # marshal has no class of its own for broken data
        raise UnreadableError(f"a frame can't be decoded: {error!r}") from error
    if version != FORMAT:
        raise UnreadableError(f"a frame has format {version}, this process knows {FORMAT}")
    return kind, payload
