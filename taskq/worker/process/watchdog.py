"""Watchdogs: they end a worker whose loop, or whose store thread, makes no progress.

A worker that hangs but lives keeps its tasks. If it ends, its supervisor starts it
again, and other workers recover its tasks.
"""

from __future__ import annotations

import threading

from taskq.worker import log_lines

from .exit import end_process
from .stacks import write_stacks

#: The exit status of a worker that its watchdog ended (``EX_SOFTWARE``).
EXIT_STATUS = 70


class Watchdog(threading.Thread):
    """Expects ``pat`` at least every ``timeout`` seconds from ``watched``, its name in the log.

    If ``ends`` is false, the process lives on while ``watched`` hangs: whoever needs to know asks ``hanging``.
    """

    def __init__(self, timeout: float, watched: str = "loop", *, ends: bool = True) -> None:
        super().__init__(name="taskq-watchdog", daemon=True)
        self._timeout = timeout
        self._watched = watched
        self._ends = ends
        self._pats = 0
        #: The number of pats when ``watched`` was found hanging.
        self._hung_at = -1
        self._stopped = threading.Event()

    def pat(self) -> None:
        """Report progress."""
        self._pats += 1

    def stop(self) -> None:
        """Stop watching, and wait until the thread has ended, unless its log hangs."""
        self._stopped.set()
        if self.is_alive() and self is not threading.current_thread():
            self.join(1.0)

    @property
    def hanging(self) -> bool:
        """Whether ``watched`` was found hanging, and has made no progress since."""
        return self._pats == self._hung_at

    def run(self) -> None:
        """The thread's main function."""
        # Silence is counted in turns of this thread, not by the clock: a process that was frozen for an hour, this
        # thread with it, has not been silent.
        turns, silent, before = 10, 0, -1
        while not self._stopped.wait(self._timeout / turns):
            silent = 0 if self._pats != before else silent + 1
            before = self._pats
            if silent >= turns and not self.hanging:
                # First, as the log may hang too.
                self._hung_at = before
                self._tell()

    def _tell(self) -> None:
        if self._ends:
            # The stacks apart from the line: each may hang where the other is written.
            end_process(EXIT_STATUS, write_stacks, lambda: log_lines.worker_hung(self._watched, self._timeout))
        log_lines.worker_hangs(self._watched, self._timeout)
