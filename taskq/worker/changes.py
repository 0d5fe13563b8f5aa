"""What changes in a worker while it runs: its queues, and the size of its pool.

Commands of remote control and autoscaling call it. The worker's row always has the queues and the concurrency of now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kombu.entity import Queue

from . import log_lines
from .duties.database_source import DatabaseSource
from .duties.declarations import Declarations
from .duties.lease import WorkerLease
from .duties.store_thread import StoreThread
from .loop.consumer import Consumer
from .options import WorkerOptions


@dataclass(slots=True)
class WorkerChanges:
    """The parts of one worker that are changed."""

    options: WorkerOptions
    store: StoreThread
    lease: WorkerLease
    declarations: Declarations
    source: DatabaseSource
    consumer: Consumer
    #: Has a function called on the loop's thread.
    post: Callable[..., None]

    # -- on the store thread

    def add_queue(self, queue: Queue) -> None:
        """Read a queue too. Called on the store thread."""
        self.declarations.add(queue)
        self.options.queues = [*(each for each in self.options.queues if each.name != queue.name), queue]
        self.source.add(queue.name)
        self._write_info(queues=[each.name for each in self.options.queues])

    def cancel_queue(self, name: str) -> None:
        """Read a queue no more. Called on the store thread."""
        self.options.queues = [each for each in self.options.queues if each.name != name]
        self.declarations.cancel(name)
        self.source.remove(name)
        self._write_info(queues=[each.name for each in self.options.queues])

    def pause(self, queues: frozenset[str]) -> None:
        """Have nothing of ``queues`` start until they are named no more. Called on the store thread."""
        self.source.pause(queues)
        self.post(self.consumer.pause, queues)

    def _write_info(self, **changed: Any) -> None:
        self.options.info = {**self.options.info, **changed}
        self.lease.write_info()

    # -- on the loop's thread

    def resize(self, by: int) -> None:
        """Add slots to the pool, or take some away. Raises ``ValueError`` if the pool can't. Called by the loop."""
        pool = self.consumer.pool
        if by > 0:
            pool.grow(by)
        else:
            pool.shrink(-by)
        self.consumer.dispatch()
        self.store.calls.post(lambda: self._write_info(concurrency=pool.concurrency))

    def scale(self, by: int) -> None:
        """Do ``resize`` for the autoscaler, and say so in the log."""
        self.resize(by)
        log_lines.pool_scaled(by, self.consumer.pool.concurrency)
