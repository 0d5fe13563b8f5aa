"""What the operating system's signals do to a worker.

TERM: warm. INT: warm, a second time cold. QUIT: cold, after ``TASKQ_SOFT_SHUTDOWN_TIMEOUT``.
HUP: warm, and start again. USR1: print all threads' stacks. ``REMAP_SIGTERM=SIGQUIT`` in
the environment makes TERM do what QUIT does.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from taskq.conf import settings

from .node import Node

Handler = Callable[[int, FrameType | None], Any]


class SignalHandlers:
    """Installs handlers for one node. ``restart`` says afterwards whether HUP asked for one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._interrupts = 0
        self.restart = False

    def install(self) -> None:
        """Install the handlers; on the main thread."""
        remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
        handlers: dict[signal.Signals, Handler] = {
            signal.SIGTERM: self._on_quit if remapped else self._on_term,
            signal.SIGINT: self._on_int,
            signal.SIGQUIT: self._on_quit,
            signal.SIGHUP: self._on_hup,
        }
        for number, handler in handlers.items():
            signal.signal(number, handler)
        faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)

    def _post(self, call: Callable[..., None], **kwargs: Any) -> None:
        # A handler may interrupt anything: the loop does it when it comes round.
        self._node.inbox.post(lambda: call(**kwargs))

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self._post(self._node.stop, sig="SIGTERM")

    def _on_int(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            self._post(self._node.stop, sig="SIGINT")
        else:
            self._post(self._node.stop_cold, sig="SIGINT")

    def _on_quit(self, number: int, frame: FrameType | None) -> None:
        self._post(self._node.stop_cold, sig="SIGQUIT", after=settings.SOFT_SHUTDOWN_TIMEOUT)

    def _on_hup(self, number: int, frame: FrameType | None) -> None:
        self.restart = True
        self._post(self._node.stop, sig="SIGHUP")
