"""The standard streams of a worker: it starts, works and stops whatever becomes of them.

A stream may be closed from the start, its reader may go away, the disk be full, or a pipe be read by nobody. Output
that can't be written is dropped: no task fails of its ``print()``, and no log line holds up the worker for long.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from contextlib import suppress
from typing import Any

from taskq.logs import replace_stream

#: Seconds that a write waits for the reader of a full pipe. After that, output is dropped until the reader goes on.
_PATIENCE = 2.0
#: Linux only: the flag of one write that must not wait. The descriptor's own flag would count for all who share it.
_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)


def protect_streams() -> None:
    """Open the standard streams that are closed, on nothing, and have errors of the others ignored."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        _open_if_closed(fd)
        stream = getattr(sys, name)
        if stream is None:
            mode = "w" if fd else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the process's life
        elif fd and isinstance(stream, io.TextIOWrapper) and _descriptor(stream) == fd:
            setattr(sys, name, _protected(stream, fd))


def _open_if_closed(fd: int) -> None:
    """Open a closed descriptor of the standard streams, which the next file or socket would get otherwise."""
    try:
        os.fstat(fd)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != fd:
            os.dup2(null, fd)
            os.close(null)


def _descriptor(stream: io.TextIOWrapper) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return -1


def _protected(stream: io.TextIOWrapper, fd: int) -> io.TextIOWrapper:
    """Return a stream like ``stream`` whose writes raise no errors, and give it to the handlers that log to it."""
    raw: Any = _Tolerant(fd)
    protected = io.TextIOWrapper(
        # With PYTHONUNBUFFERED, Python's own streams have no buffer either.
        raw if stream.write_through else io.BufferedWriter(raw),
        stream.encoding,
        "backslashreplace" if fd == 2 else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    with suppress(OSError):
        stream.flush()
    replace_stream(stream, protected)
    return protected


class _Tolerant(io.FileIO):
    """A descriptor that stays open, and drops what can't be written to it."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "wb", closefd=False)
        kind = os.fstat(fd).st_mode
        #: Only such a descriptor can make a write wait for long.
        self._may_block = stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or stat.S_ISCHR(kind)
        self._patience = _PATIENCE

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write ``data``, and drop what can't be written."""
        rest = memoryview(data)
        with suppress(OSError):
            while rest and (written := self._write_patiently(rest) if self._may_block else super().write(rest)):
                rest = rest[written:]
        return len(data)

    def _write_patiently(self, data: memoryview) -> int:
        """Write some of ``data`` as soon as that needs no waiting. Return 0 if the reader takes nothing in time."""
        until = time.monotonic() + self._patience
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        while poll.poll(max(0.0, until - time.monotonic()) * 1000):
            with suppress(BlockingIOError):
                # No more than a pipe takes without waiting, once it takes anything.
                written = _write_at_once(self.fileno(), data[: select.PIPE_BUF])
                self._patience = _PATIENCE
                return written
            if time.monotonic() >= until:
                break
        self._patience = 0.0
        return 0


def _write_at_once(fd: int, data: memoryview) -> int:
    """Write some of ``data``, or raise ``BlockingIOError``: another process may have filled the pipe just now."""
    if _NO_WAIT:
        try:
            return os.pwritev(fd, [data], -1, _NO_WAIT)
        except BlockingIOError:
            raise
        except OSError:
            # Terminals, and older kernels, have no such write.
            pass
    return os.write(fd, data)
