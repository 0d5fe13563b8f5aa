"""Watchdogs: they end a worker whose loop, or whose store thread, makes no progress.

A worker that hangs but lives keeps its tasks. If it ends, its supervisor starts it
again, and other workers recover its tasks.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback

from taskq.logs import log_descriptor
from taskq.worker import log_lines

from .exit import end_process

#: The exit status of a worker that its watchdog ended (``EX_SOFTWARE``).
EXIT_STATUS = 70


class Watchdog(threading.Thread):
    """Expects ``pat`` at least every ``timeout`` seconds from ``watched``, its name in the log."""

    def __init__(self, timeout: float, watched: str = "loop") -> None:
        super().__init__(name="taskq-watchdog", daemon=True)
        self._timeout = timeout
        self._watched = watched
        self._pats = 0
        self._stopped = threading.Event()

    def pat(self) -> None:
        """Report progress."""
        self._pats += 1

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def run(self) -> None:
        """The thread's main function."""
        # Silence is counted in turns of this thread, not by the clock: a process that was frozen for an hour, this
        # thread with it, has not been silent.
        turns, silent, before = 10, 0, -1
        while not self._stopped.wait(self._timeout / turns):
            silent = 0 if self._pats != before else silent + 1
            before = self._pats
            if silent >= turns:
                self._end()

    def _end(self) -> None:
        end_process(EXIT_STATUS, self._log)

    def _log(self) -> None:
        # With a log file the stacks belong there: nobody may read standard error. Not by faulthandler, which holds
        # the interpreter while it waits for a full pipe: nothing could end the process then.
        os.write(log_descriptor() or 2, _stacks().encode("utf-8", "backslashreplace"))
        log_lines.worker_hung(self._watched, self._timeout)


def _stacks() -> str:
    """Return the stacks of all threads, the innermost call last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = [
        f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    ]
    return "\n".join(stacks)
