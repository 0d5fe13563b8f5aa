"""What the pools need of the worker's loop: the part of ``kombu.asynchronous.Hub`` that they call, with types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Loop(Protocol):
    """The loop. All but ``call_soon`` are called on its own thread."""

    def add_reader(self, fds: int, callback: Callable[..., object], *args: Any) -> Any:
        """Call ``callback(*args)`` whenever the descriptor can be read."""

    def add_writer(self, fds: int, callback: Callable[..., object], *args: Any) -> Any:
        """Call ``callback(*args)`` whenever the descriptor has room."""

    def remove(self, fd: int) -> Any:
        """Forget a descriptor; one that is not known is no error."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Any:
        """Call ``callback(*args)`` in the loop's next round."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Any:
        """Call ``callback(*args)`` in ``delay`` seconds."""
