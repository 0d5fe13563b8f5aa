"""What the processes of the prefork pool ask of the operating system.

Titles, signals, dying with one's parent, memory. Nothing here knows of
deliveries. On systems other than Linux what they don't have is left out: a
child then notices the end of the main process at its socket.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module

_PR_SET_PDEATHSIG = 1
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024

#: What a terminal or a supervisor sends to a whole process group is for the main process to act on.
IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def die_with(parent: int) -> None:
    """Have this process killed when the process ``parent``, which forked it, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # It may have ended before that.
    if os.getppid() != parent:
        os._exit(1)


def ignore_group_signals() -> None:
    """Leave signals for the whole process group to the main process."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def set_title(title: str) -> None:
    """Name this process in ``ps``, where setproctitle is installed."""
    with suppress(ImportError):
        import_module("setproctitle").setproctitle(title)


def heeded(pid: int, number: int) -> int:
    """Return the signal that ends ``pid``: ``number``, or SIGKILL where the process ignores that one.

    Children ignore what is sent to the group, unless a task's own code handles it.
    """
    if number not in IGNORED_SIGNALS:
        return number
    try:
        with open(f"/proc/{pid}/status") as status:
            caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return signal.SIGKILL
    # Python's own handler, or one of the task's: both get the signal as asked.
    return number if caught >> (number - 1) & 1 else signal.SIGKILL


def resident_kib(pid: int | None = None) -> int:
    """Return the resident size of a process in KiB, by default of this one; 0 when unknown."""
    try:
        with open(f"/proc/{pid or 'self'}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_KIB
    except (OSError, IndexError):
        return 0


def describe_exit(exit_code: int) -> str:
    """Say how a process ended: ``"signal 9 (SIGKILL)"`` or ``"exitcode 3"``."""
    if exit_code >= 0:
        return f"exitcode {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = "unknown"
    return f"signal {-exit_code} ({name})"


def flush_streams() -> None:
    """Write out what Python has buffered for the standard streams."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
