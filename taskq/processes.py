"""Processes of this host: their identity, and whether they still live."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def host_identity() -> str:
    """Return the identity of this pid namespace: processes with the same identity can see each other's pids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{socket.gethostname()}:{os.uname().sysname}" if not Path("/proc/self").exists() else ""


def flush_streams() -> None:
    """Flush the standard streams, whatever they are."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def process_started(pid: int) -> int | None:
    """Return the start of process ``pid`` in clock ticks since boot; ``None`` if it is dead or not visible."""
    fields = _stat(pid)
    return None if fields is None or _is_dead(fields) else int(fields[19])


def is_gone(pid: int, started: int = 0) -> bool:
    """Tell whether the process ``pid`` with the start ``started`` (0 if not known) is certainly dead.

    Without ``/proc``, or if it hides other users' processes, a new process with the same pid counts as the old one.
    """
    if (fields := _stat(pid)) is None:
        return not _exists(pid)
    return _is_dead(fields) or (started != 0 and int(fields[19]) != started)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/<pid>/stat`` behind the process's name, from its state on, if readable."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _is_dead(fields: list[str]) -> bool:
    # A zombie: only its parent has not reaped it yet.
    return fields[0] in "ZX"


def _exists(pid: int) -> bool:
    if pid <= 0:
        # For kill() these are process groups.
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        # The process belongs to another user.
        return True
    return True


def seconds_alive(pid: int) -> float | None:
    """Return the seconds since process ``pid`` started; ``None`` if it is dead."""
    started = process_started(pid)
    if started is None:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def command_line(pid: int) -> str:
    """Return the command line of process ``pid``, with spaces between its words; empty if it is dead or not visible."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        # Not every system has /proc.
        with suppress(OSError):
            found = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
            return found.stdout.strip()
        return ""


def send_signal(pid: int, started: int | None, number: int) -> bool:
    """Send a signal to the process ``pid`` with that start; return false if it is gone. Raises ``PermissionError``."""
    try:
        if started is None or not hasattr(os, "pidfd_open"):
            os.kill(pid, number)
            return True
        # A descriptor stays the process's, also if the number becomes another one's after the look at its start.
        process = os.pidfd_open(pid)
        try:
            if process_started(pid) != started:
                return False
            signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)
    except ProcessLookupError:
        return False
    return True
