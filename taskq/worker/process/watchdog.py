"""Watchdogs: they end a worker whose loop, or whose store thread, makes no progress.

Alive but silent is the worst that a worker can be. A worker that ends is started
again by whoever started it, and its tasks are taken over.
"""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading

from taskq.logs import log_descriptor

from .exit import end_process

logger = logging.getLogger("taskq.worker")
#: The exit status of a worker that its watchdog ended (``EX_SOFTWARE``).
EXIT_STATUS = 70


class Watchdog(threading.Thread):
    """Expects ``pat`` at least every ``timeout`` seconds from ``whom``, as the log names it."""

    def __init__(self, timeout: float, whom: str = "loop") -> None:
        super().__init__(name="taskq-watchdog", daemon=True)
        self._timeout = timeout
        self._whom = whom
        self._pats = 0
        self._stopped = threading.Event()

    def pat(self) -> None:
        """Say that there is progress."""
        self._pats += 1

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def run(self) -> None:
        """The thread's main function."""
        # Counted in turns of its own: a whole process that was frozen for an hour has not been silent.
        turns, silent, before = 10, 0, -1
        while not self._stopped.wait(self._timeout / turns):
            silent = 0 if self._pats != before else silent + 1
            before = self._pats
            if silent >= turns:
                self._end()

    def _end(self) -> None:
        end_process(EXIT_STATUS, self._say)

    def _say(self) -> None:
        # Where nobody reads the terminal the log file has it.
        faulthandler.dump_traceback(log_descriptor() or sys.stderr)
        logger.critical("The worker's %s has made no progress for %g s: the worker ends.", self._whom, self._timeout)
