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
    """Return when process ``pid`` began, in clock ticks since boot; ``None`` if it does not live."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def seconds_alive(pid: int) -> float | None:
    """Return how long ago process ``pid`` began; ``None`` if it does not live."""
    started = process_started(pid)
    if started is None:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
