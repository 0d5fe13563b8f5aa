"""The part of ``kombu.asynchronous.Hub`` that pools call, with types. The worker's loop is such a hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Hub(Protocol):
    """The event loop. All but ``call_soon`` are called on its own thread."""

    def add_reader(self, fds: int, callback: Callable[..., object], *args: Any) -> Any:
        """Call ``callback(*args)`` whenever the descriptor can be read."""

    def add_writer(self, fds: int, callback: Callable[..., object], *args: Any) -> Any:
        """Call ``callback(*args)`` whenever the descriptor can be written."""

    def remove(self, fd: int) -> Any:
        """Forget a descriptor; an unknown one is no error."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Any:
        """Call ``callback(*args)`` in the loop's next round."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Any:
        """Call ``callback(*args)`` in ``delay`` seconds."""
