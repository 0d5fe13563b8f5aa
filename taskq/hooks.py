"""Hooks: the named events of a room. An event writes its line of the log, and calls whoever has subscribed to it.

The hooks of a room are in its module ``log_lines``. Events, metrics and traces subscribe to them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVarTuple

logger = logging.getLogger("taskq")
Args = TypeVarTuple("Args")


class Hook(Generic[*Args]):
    """An event that is called when it happens. ``log`` writes its line, and has its arguments.

    Subscribers are called after that, in the same thread, so they must not wait. What they raise is logged and harms
    nothing. Without subscribers a hook costs no more than its line.
    """

    __slots__ = ("_log", "_subscribers")

    def __init__(self, log: Callable[[*Args], None]) -> None:
        self._log = log
        self._subscribers: tuple[Callable[[*Args], object], ...] = ()

    def __call__(self, *about: *Args) -> None:
        """Write the line, then call the subscribers."""
        self._log(*about)
        if self._subscribers:
            self._tell(*about)

    def _tell(self, *about: *Args) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(*about)
            except Exception:
                logger.exception("The subscriber %r of an event raised.", subscriber)

    def subscribe(self, subscriber: Callable[[*Args], object]) -> None:
        """Have ``subscriber`` called with the arguments of each event."""
        self._subscribers = (*self._subscribers, subscriber)

    def unsubscribe(self, subscriber: Callable[[*Args], object]) -> None:
        """Call ``subscriber`` no more."""
        self._subscribers = tuple(each for each in self._subscribers if each != subscriber)
