"""The two libraries of greenlets behind one interface: ``gevent`` and ``eventlet``. Imported in patched processes only.

A function that is called ``later`` runs in the library's own loop, where nothing may wait.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol


class Greenlets(Protocol):
    """What the pools need of a library."""

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        """Have a greenlet of its own call a function."""

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> Callable[[], object]:
        """Have the loop call a function after some seconds; return a function that cancels that."""

    def current(self) -> Any:
        """Return the greenlet that runs."""


class Gevent:
    """``gevent``."""

    def __init__(self) -> None:
        self._gevent: Any = import_module("gevent")
        self.current: Callable[[], Any] = self._gevent.getcurrent

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        """See ``Greenlets``."""
        self._gevent.spawn(function, *args)

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> Callable[[], object]:
        """See ``Greenlets``."""
        timer = self._gevent.get_hub().loop.timer(seconds)

        def call() -> None:
            timer.close()
            function(*args)

        timer.start(call)
        cancel: Callable[[], object] = timer.close
        return cancel


class Eventlet:
    """``eventlet``."""

    def __init__(self) -> None:
        self._eventlet: Any = import_module("eventlet")
        self._hubs: Any = import_module("eventlet.hubs")
        self.current: Callable[[], Any] = self._eventlet.getcurrent

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        """See ``Greenlets``."""
        self._eventlet.spawn_n(function, *args)

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> Callable[[], object]:
        """See ``Greenlets``."""
        timer = self._hubs.get_hub().schedule_call_global(seconds, function, *args)
        cancel: Callable[[], object] = timer.cancel
        return cancel


def library(kind: str) -> Greenlets:
    """Return the library of a pool, by the pool's name."""
    return Gevent() if kind == "gevent" else Eventlet()
