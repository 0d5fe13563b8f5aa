"""``WorkerState``: the worker as commands see it. Every handler gets it first.

What only reads, reads snapshots: plain dictionaries and lists of the loop, copied on the thread of remote control,
while the loop may be busy. What changes something is posted to the loop, what needs the database to the store thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskq.worker.loop.holdings import Running
from taskq.worker.loop.request import Request
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

    # -- snapshots

    def held(self) -> list[Request]:
        """Return the requests that the worker holds."""
        return self.node.consumer.holdings.all()

    def running(self) -> list[Running]:
        """Return the requests that run."""
        return self.node.consumer.holdings.running(self.node.consumer.pool)

    def reserved(self) -> list[Request]:
        """Return the requests that the worker holds and that do not run."""
        # First what is held: a request that ends meanwhile is in neither.
        held = self.held()
        heads = {each.request.job for each in self.running()}
        return [request for request in held if request.job not in heads]

    # -- other threads

    def pending(self, late: Callable[[], Any]) -> Pending:
        """Return a reply that another thread gives; ``late()`` is the reply if it takes too long."""
        return Pending(self.node.remote.post, late)

    def on_loop(self, call: Callable[..., Any], *args: Any, late: Any = None) -> Pending:
        """Have the loop's thread make a call, and reply with what it returns; ``late`` if it does not come to it."""
        pending = self.pending(late=lambda: late)
        self.node.calls.post(pending.run, call, *args)
        return pending

    def on_store(self, call: Callable[..., Any], *args: Any, late: Callable[[], Any] | None = None) -> Pending:
        """Have the store thread make a call, which may use the database, and reply with what it returns."""
        pending = self.pending(late or self.no_database)
        self.node.store.calls.post(pending.run, call, *args)
        return pending

    def no_database(self) -> dict[str, str]:
        """Return the error if the store thread does not come to a call."""
        return {"error": f"the database {self.node.store.alias!r} does not answer"}
