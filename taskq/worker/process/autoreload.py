"""``--reload``: a supervisor that starts the worker again when a source file has changed. For development."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from django.utils.autoreload import StatReloader

from .reexec import RELOADED, command_line, environment
from .system import GROUP_SIGNALS, die_with_parent

_INTERVAL = 0.5
_LONGEST_STOP = 30.0


def supervise(marks: Iterable[str], say: Callable[[str], None]) -> int:
    """Run this command as a worker, again after every change of a source file; return its exit status.

    TERM, INT, QUIT and HUP end both processes. A worker that ends by itself (for example by an error
    in the code) is started again after the next change.
    """
    stopped: list[int] = []
    _stop_by_signal(stopped)
    while True:
        process = _start(marks)
        before = _snapshot()
        changed = _wait(before, stopped)
        waits = f" It waits up to {_LONGEST_STOP:g} s for its running tasks." if process.poll() is None else ""
        say(f"{changed} has changed: the worker starts again.{waits}" if changed else f"The worker is to end.{waits}")
        status = _stop(process)
        if stopped:
            # If a signal has ended the worker before it had handlers, the status is the one that a shell gives.
            return status if status >= 0 else 128 - status


def _stop_by_signal(stopped: list[int]) -> None:
    for number in GROUP_SIGNALS:
        # Under nohup HUP stays ignored. INT and QUIT do not: scripts have them ignored in all background jobs.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda n, _: stopped.append(n))


def _start(marks: Iterable[str]) -> subprocess.Popen[bytes]:
    # Otherwise the worker would go on when its supervisor is killed.
    dies_with_this = partial(die_with_parent, os.getpid(), signal.SIGTERM)
    return subprocess.Popen(command_line(), env=environment({*marks, RELOADED}), preexec_fn=dies_with_this)


def _snapshot() -> dict[Path, float]:
    return dict(StatReloader().snapshot_files())


def _wait(before: dict[Path, float], stopped: list[int]) -> Path | None:
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
