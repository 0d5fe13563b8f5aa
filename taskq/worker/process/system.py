"""What the processes of the prefork pool ask of the operating system.

Titles, signals, dying with one's parent, memory. Nothing here knows of
deliveries. On systems other than Linux what they don't have is left out: a
child then notices the end of the main process at its socket.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024

#: What a terminal or a supervisor sends to a whole process group is for the main process to act on.
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have this process killed, or signalled otherwise, when the process ``parent``, which forked it, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    # It may have ended before that.
    if os.getppid() != parent:
        os._exit(1)


def signal_number(name: str) -> int:
    """Return the number of a signal named as ``SIGTERM``, ``TERM`` or ``15``; ``ValueError`` otherwise."""
    try:
        return signal.Signals(int(name)) if name.isdigit() else signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except (KeyError, ValueError):
        raise ValueError(f"There is no signal {name!r}: use a name such as SIGTERM.") from None


def ignore_group_signals() -> None:
    """Leave signals for the whole process group to the main process. For the fork server."""
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def terminate_only_on_order(orders_fd: int) -> None:
    """Have this process ended by such a signal only if a byte in the pipe ``orders_fd`` says it is meant. For children.

    A handler, because what is ignored stays ignored in programs that a task starts.
    A task that handles such a signal itself gets it in any case.
    """

    def heed(number: int, frame: FrameType | None) -> None:
        try:
            meant = os.read(orders_fd, 1)
        except OSError:
            return
        if meant:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    os.set_blocking(orders_fd, False)
    for number in GROUP_SIGNALS:
        signal.signal(number, heed)
        # System calls of libraries that know no EINTR go on.
        signal.siginterrupt(number, False)


def set_title(title: str) -> None:
    """Name this process in its log records, and in ``ps`` where setproctitle is installed."""
    # Such as "child 1": what logging calls the process's name.
    multiprocessing.current_process().name = " ".join(title.split()[1:3])
    with suppress(ImportError):
        import_module("setproctitle").setproctitle(title)


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
