"""The stacks of all threads, written to the worker's log file, or to standard error if there is none.

``faulthandler`` holds the interpreter while it writes: a pipe that nobody reads would hold up the whole process. So it
writes to a pipe of this module, which never waits, and a thread copies from there.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import select
import sys
import threading
from contextlib import suppress

from taskq.logs import log_descriptor

#: Size of the pipe, in bytes: enough for a hundred threads, as many as ``faulthandler`` writes.
_SIZE = 1 << 20
#: How much of it is copied at a time, in bytes.
_CHUNK = 1 << 16
#: Seconds without a line after which a stack is whole.
_QUIET = 0.05


def write_stacks() -> None:
    """Write the stacks now. Waits for whatever reads the log."""
    reader, writer = _pipe()
    faulthandler.dump_traceback(writer, all_threads=True)
    os.close(writer)
    _copy(reader)


def write_stacks_on(number: int) -> None:
    """Write the stacks whenever this process gets the signal ``number``, also while its main thread hangs.

    The handler writes the stack of the thread that it interrupts alone: other threads run meanwhile, and reading their
    frames ends the process with SIGSEGV now and then. A thread writes all stacks after that, holding the interpreter.
    """
    reader, writer = _pipe()
    threading.Thread(target=_answer, args=(reader,), name="taskq-stacks", daemon=True).start()
    faulthandler.register(number, writer, all_threads=False)


def _answer(reader: int) -> None:
    while data := os.read(reader, _CHUNK):
        # Its lines come one by one, and several signals are answered together.
        while len(data) < _SIZE and select.select([reader], [], [], _QUIET)[0]:
            data += os.read(reader, _CHUNK)
        # A log that can't be written takes these stacks, but later ones may find it mended.
        with suppress(OSError):
            _write(_log(), data)
        with suppress(OSError):
            write_stacks()


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # Other systems have no such call, and Linux may have a lower limit.
    with suppress(AttributeError, OSError):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _SIZE)
    return reader, writer


def _copy(reader: int) -> None:
    """Copy to the log until all writers have closed the pipe."""
    while data := os.read(reader, _CHUNK):
        # A log that can't be written takes these stacks, but later ones may find it mended.
        with suppress(OSError):
            _write(_log(), data)
    os.close(reader)


def _log() -> int:
    if (descriptor := log_descriptor()) is not None:
        return descriptor
    try:
        # Not always 2: if standard error was closed at the start, 2 may be a file or socket of the application.
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return 2


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
