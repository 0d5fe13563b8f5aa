"""The solo pool: one delivery at a time, in one thread beside the loop.

Not in the loop's own thread, so that heartbeats and remote control go on while a
task runs. For debugging, and for workers that must run one task at a time in one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from taskq import signals

from .base import PoolEvents, PoolOptions
from .hub import Hub
from .threads import ThreadsPool


class SoloPool(ThreadsPool):
    """One thread, whatever ``concurrency`` says."""

    name = "solo"
    supports_resizing = False

    def __init__(self, concurrency: int, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        super().__init__(1, events, hub, options)

    @contextmanager
    def _around(self) -> Iterator[None]:
        """Send the signals that set a process of a pool up and end it, where the tasks run, as Celery's solo does."""
        hostname = self.options.hostname
        signals.send(signals.worker_process_init, hostname)
        yield
        signals.send(signals.worker_process_shutdown, hostname, pid=os.getpid(), exitcode=0)

    def grow(self, n: int = 1) -> None:
        """Start the one thread; more are refused."""
        if self._slots or n != 1:
            raise ValueError("The solo pool has one thread: use --pool threads for more.")
        super().grow()

    def shrink(self, n: int = 1) -> None:
        """Refuse: there is one thread."""
        raise ValueError("The solo pool has one thread, and can't have fewer.")
