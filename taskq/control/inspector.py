"""``Inspect``: ask workers what they do. Its methods have the names of the commands, and Celery's arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .broadcasts import broadcast


class Inspect:
    """Asks workers, by default all; each method returns the replies by node, an empty dictionary if nobody answers.

    ``destination`` is a list of nodes; for one node given as a text, each method returns that node's reply alone.
    ``timeout`` is in seconds. ``pattern`` with ``matcher`` chooses nodes by name.
    """

    def __init__(
        self,
        destination: str | Sequence[str] | None = None,
        timeout: float = 1.0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        connection: Any = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        self.destination = destination
        self.timeout = timeout
        self._more: dict[str, Any] = {
            "callback": callback, "connection": connection, "limit": limit, "pattern": pattern, "matcher": matcher,
        }  # fmt: skip

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return the replies to any command that the workers know, also one of your own."""
        replies = broadcast(
            command, arguments, destination=self.destination, reply=True, timeout=self.timeout, **self._more
        )
        by_node = {node: reply for found in replies or () for node, reply in found.items()}
        return by_node.get(self.destination, {}) if isinstance(self.destination, str) else by_node

    def ping(self, destination: str | Sequence[str] | None = None) -> Any:
        """Return ``{"ok": "pong"}`` of each worker; ``destination`` as in the constructor."""
        return (self if destination is None else Inspect(destination, self.timeout, **self._more)).ask("ping")

    # -- tasks

    def active(self, safe: bool = False) -> Any:
        """Return the tasks that run now. ``safe`` shows their arguments as texts."""
        return self.ask("active", safe=safe)

    def reserved(self, safe: bool = False) -> Any:
        """Return the tasks that workers hold and that have not started."""
        return self.ask("reserved")

    def scheduled(self, safe: bool = False) -> Any:
        """Return the tasks that are due later in the queues of each worker; any worker may run them."""
        return self.ask("scheduled")

    def revoked(self) -> Any:
        """Return the ids of tasks that were revoked, or have expired: the latest ones."""
        return self.ask("revoked")

    def registered(self, *taskinfoitems: str) -> Any:
        """Return the names of the known tasks, with these of their attributes."""
        return self.ask("registered", taskinfoitems=taskinfoitems)

    #: Celery's other name.
    registered_tasks = registered

    def query_task(self, *ids: str | Sequence[str]) -> Any:
        """Return ``{id: [state, task]}`` of those of the tasks that each worker holds, or that are due later."""
        wanted = [each for given in ids for each in ([given] if isinstance(given, str) else given)]
        return self.ask("query_task", ids=wanted)

    def stack(self, task_id: str) -> Any:
        """Return ``{"ok": stack}`` of the worker that runs the task, ``{"error": why}`` of all others."""
        return self.ask("stack", task_id=task_id)

    # -- workers

    def stats(self) -> Any:
        """Return statistics."""
        return self.ask("stats")

    def active_queues(self) -> Any:
        """Return the queues that workers read."""
        return self.ask("active_queues")

    def conf(self, with_defaults: bool = False) -> Any:
        """Return the settings that are set, or all."""
        return self.ask("conf", with_defaults=with_defaults)

    def report(self) -> Any:
        """Return versions, platform and settings as a text."""
        return self.ask("report")

    def clock(self) -> Any:
        """Return the logical clocks."""
        return self.ask("clock")

    def memsample(self) -> Any:
        """Return the resident memory of the main processes."""
        return self.ask("memsample")

    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """Return what workers tell one that starts: revoked ids, and their clocks."""
        return self.ask("hello", from_node=from_node, revoked=revoked)


#: Celery's name.
inspect = Inspect
