"""``WorkerState``: the worker as commands see it. Every handler gets it first.

What only reads, reads snapshots: plain dictionaries and lists of the loop, copied on the thread of remote control,
while the loop may be busy. What changes something is posted to the loop, what needs the database to the store thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from taskq.worker.remote.lamport import LamportClock, lamport

from .pending import Pending

if TYPE_CHECKING:
    from taskq.worker.node import WorkerNode


class WorkerState:
    """One worker. ``hostname`` is the node's name; commands of taskq itself reach further, through ``node``."""

    def __init__(self, node: WorkerNode) -> None:
        self.node = node
        self.hostname = node.options.name
        self.clock: LamportClock = lamport

    def on_loop(self, call: Callable[..., Any], *args: Any, late: Any = None) -> Pending:
        """Have the loop's thread make a call, and reply with what it returns; ``late`` if it does not come to it."""
        pending = Pending(self.node.remote.post, lambda: late)
        self.node.calls.post(pending.run, call, *args)
        return pending

    def on_store(self, call: Callable[..., Any], *args: Any, late: Callable[[], Any] | None = None) -> Pending:
        """Have the store thread make a call, which may use the database, and reply with what it returns."""
        pending = Pending(self.node.remote.post, late or self._no_database)
        self.node.store.calls.post(partial(pending.run, call, *args))
        return pending

    def _no_database(self) -> dict[str, str]:
        return {"error": f"The database {self.node.store.alias!r} does not answer."}
