"""Calls of the operating system for the worker's processes: titles, signals, death with the parent, memory.

Used mostly by the prefork pool. On systems other than Linux some do nothing: a child
then notices the end of the main process at its socket.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from types import FrameType

# Looked for once: each child would look again.
try:
    _setproctitle: Callable[[str], None] | None = import_module("setproctitle").setproctitle
except ImportError:
    _setproctitle = None

_PR_SET_PDEATHSIG, _MADV_COLLAPSE, _M_MMAP_THRESHOLD = 1, 25, -3
# Loaded once: a process that is forked beside other threads must not wait for a lock of the loader.
_libc = ctypes.CDLL(None)
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_HUGE = 2 * 1024 * 1024
#: Blocks of so many bytes are large, and worth a system call.
_LARGE = 1024 * 1024

#: Signals that a terminal or a supervisor sends to a whole process group; only the main process acts on them.
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
#: The pipe whose bytes let such a signal end this process; a process without one ignores them.
_orders_fd = -1


def signal_on_parents_death(number: int) -> None:
    """Have this process sent a signal when the thread that forked it ends, on Linux."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have this process killed, or sent another signal, when ``parent`` ends, the process that forked it."""
    signal_on_parents_death(number)
    # The parent may have ended before that call.
    if os.getppid() != parent:
        os._exit(1)


def signal_number(name: str) -> signal.Signals:
    """Return the number of a signal named as ``SIGTERM``, ``TERM`` or ``15``; ``ValueError`` otherwise."""
    try:
        return signal.Signals(int(name)) if name.isdigit() else signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except (KeyError, ValueError):
        raise ValueError(f"There is no signal {name!r}: use a name such as SIGTERM.") from None


def ignore_group_signals() -> None:
    """Ignore signals to the whole process group: the main process acts on them. For the fork server and its children.

    By a handler, because programs that a task starts would inherit ignored signals. A task that has its own handler
    for such a signal gets it in any case.
    """
    for number in GROUP_SIGNALS:
        signal.signal(number, _end_on_order)
        # Libraries that don't handle EINTR need their system calls restarted.
        signal.siginterrupt(number, False)


def heed_orders(orders_fd: int) -> None:
    """Have group signals end this process if there is a byte in the pipe ``orders_fd``. For children."""
    global _orders_fd
    os.set_blocking(orders_fd, False)
    _orders_fd = orders_fd


def _end_on_order(number: int, frame: FrameType | None) -> None:
    try:
        order = os.read(_orders_fd, 1)
    except OSError:
        return
    if order:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def set_title(title: str) -> None:
    """Name this process in its log records, and in ``ps`` where setproctitle is installed."""
    # For example "child 1"; ``processName`` of log records.
    multiprocessing.current_process().name = " ".join(title.split()[1:3])
    if _setproctitle is not None:
        _setproctitle(title)


def resident_kib(pid: int | None = None) -> int:
    """Return the resident memory of a process in KiB, by default of this process; 0 if unknown."""
    try:
        with open(f"/proc/{pid or 'self'}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_KIB
    except (OSError, IndexError):
        return 0


def use_huge_pages() -> None:
    """Move the memory of this process into huge pages, as far as that is possible, on Linux from 6.1 on.

    Forking a process, and its end, take a time for each page. For a process that will be forked very often.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError), open("/proc/self/maps") as maps:
        for begin, end in _private_memory(maps.read()):
            for address in range(-(-begin // _HUGE) * _HUGE, end - _HUGE + 1, _HUGE):
                # An error is none: the kernel is older, or has no huge page left.
                _libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(_HUGE), _MADV_COLLAPSE)


def return_large_blocks() -> None:
    """Have each large block of memory go back to the system as soon as it is free, where the C library is GNU's.

    Otherwise it keeps what one large message took, in pieces, and takes more for the next one.
    """
    with suppress(AttributeError):
        _libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def return_free_memory() -> None:
    """Give the memory that is free now back to the system, where the C library is GNU's."""
    with suppress(AttributeError):
        _libc.malloc_trim(ctypes.c_size_t(0))


def _private_memory(maps: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the memory that belongs to no file, from the text of ``/proc/self/maps``."""
    for line in maps.splitlines():
        span, access, _, _, inode, *name = line.split()
        if access == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            begin, end = span.split("-")
            yield int(begin, 16), int(end, 16)


def describe_exit(exit_code: int) -> str:
    """Return how a process ended in words: ``"signal 9 (SIGKILL)"`` or ``"exitcode 3"``."""
    if exit_code >= 0:
        return f"exitcode {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = "unknown"
    return f"signal {-exit_code} ({name})"
