"""``--reload``: a supervisor that starts the worker anew when a source file has changed. For development."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from django.utils.autoreload import StatReloader

_INTERVAL = 0.5
_LONGEST_STOP = 30.0


def supervise(argv: Sequence[str], say: Callable[[str], None]) -> int:
    """Run ``argv`` as a worker, again after every change of a source file, until TERM or INT; return its status.

    A worker that ends by itself (a mistake in the code, say) is started again after the
    next change.
    """
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _: stopped.append(n))
    while True:
        process = subprocess.Popen(argv)
        before = _snapshot()
        changed = _wait(process, before, stopped)
        status = _stop(process)
        if stopped:
            return status
        say(f"{changed} has changed: the worker starts again.")


def _snapshot() -> dict[Path, float]:
    return dict(StatReloader().snapshot_files())


def _wait(process: subprocess.Popen[bytes], before: dict[Path, float], stopped: list[int]) -> Path | None:
    while not stopped:
        time.sleep(_INTERVAL)
        now = _snapshot()
        for path in now.keys() | before.keys():
            if now.get(path) != before.get(path):
                return path
    return None


def _stop(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(_LONGEST_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def command_line() -> list[str]:
    """Return the command line of this process without ``--reload`` and what only the supervisor needs."""
    return [sys.executable, *(a for a in sys.argv if a != "--reload")]
