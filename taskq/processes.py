"""Processes of this host: who one is, and whether it still lives."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path


def host_identity() -> str:
    """Return what is the same for two processes only if one can see the other's pid."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{socket.gethostname()}:{os.uname().sysname}" if not Path("/proc/self").exists() else ""


def process_started(pid: int) -> int | None:
    """Return when process ``pid`` began, in clock ticks since boot; ``None`` if it does not live, or can't be seen."""
    fields = _stat(pid)
    return None if fields is None or _is_dead(fields) else int(fields[19])


def is_gone(pid: int, started: int = 0) -> bool:
    """Tell whether the process ``pid``, which began at ``started`` (0 if that is not known), surely lives no more.

    Where ``/proc`` hides the processes of other users, or is not there at all, one that took its number since can't
    be told from it: it then counts as alive.
    """
    if (fields := _stat(pid)) is None:
        return not _exists(pid)
    return _is_dead(fields) or (started != 0 and int(fields[19]) != started)


def _stat(pid: int) -> list[str] | None:
    """Return what the kernel says of a process after its name, from its state on, if that can be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _is_dead(fields: list[str]) -> bool:
    # Only its parent has yet to hear of it.
    return fields[0] in "ZX"


def _exists(pid: int) -> bool:
    if pid <= 0:
        # To kill() these are groups of processes.
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        # It is there, and another user's.
        return True
    return True


def seconds_alive(pid: int) -> float | None:
    """Return how long ago process ``pid`` began; ``None`` if it does not live."""
    started = process_started(pid)
    if started is None:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
