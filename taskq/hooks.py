"""Hooks: the named events of a room, in its module ``log_lines``. Metrics, traces and monitors subscribe to them."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVarTuple, overload

from taskq.containment import contained
from taskq.log_escapes import get_logger

logger = get_logger("taskq")
Args = TypeVarTuple("Args")


class Hook(Generic[*Args]):
    """An event, called when it happens. ``log`` writes its line, with the event's arguments, after ``text`` if given.

    Subscribers are called after that, in the same thread, so they must not wait. An exception of a subscriber is
    logged, an exception of the log itself is printed, and neither harms the caller.
    """

    __slots__ = ("_log", "_subscribers")

    @overload
    def __init__(self, log: Callable[[*Args], None], /) -> None: ...
    @overload
    def __init__(self, log: Callable[..., None], text: str, /) -> None: ...
    def __init__(self, log: Callable[..., None], *text: str) -> None:
        self._log = partial(log, *text) if text else log
        self._subscribers: tuple[Callable[[*Args], object], ...] = ()

    def __call__(self, *about: *Args) -> None:
        """Write the line, then call the subscribers."""
        try:
            self._log(*about)
            if self._subscribers:
                self._tell(*about)
        except contained():
            print_error()

    def _tell(self, *about: *Args) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(*about)
            except contained():
                logger.exception("The subscriber %r of an event raised.", subscriber)

    def subscribe(self, subscriber: Callable[[*Args], object]) -> None:
        """Have ``subscriber`` called with the arguments of each event."""
        self._subscribers = (*self._subscribers, subscriber)

    def unsubscribe(self, subscriber: Callable[[*Args], object]) -> None:
        """Call ``subscriber`` no more."""
        self._subscribers = tuple(each for each in self._subscribers if each != subscriber)


def silent(*about: object) -> None:
    """The log of a hook that writes no line: ``Hook[...](silent)``."""


def print_error() -> None:
    """Print the exception that is handled now to standard error, as ``logging`` does if a handler raises."""
    with suppress(contained()):
        if logging.raiseExceptions and sys.stderr is not None:
            traceback.print_exc(file=sys.stderr)
