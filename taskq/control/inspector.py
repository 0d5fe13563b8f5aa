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

    def active(self, safe: bool = False) -> Any:
        """Return the tasks that run now. ``safe`` shows their arguments as texts."""
        return self.ask("active", safe=safe)

    def reserved(self, safe: bool = False) -> Any:
        """Return the tasks that workers hold and that have not started."""
        return self.ask("reserved")

    def stats(self) -> Any:
        """Return statistics."""
        return self.ask("stats")
