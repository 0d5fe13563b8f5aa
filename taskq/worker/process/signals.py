"""What the operating system's signals do to a worker.

TERM: warm. INT: warm, a second time cold. QUIT: cold, after ``TASKQ_SOFT_SHUTDOWN_TIMEOUT``.
HUP: warm, and start again, or just warm in a terminal. USR1: write all threads' stacks to the log.
``REMAP_SIGTERM=SIGQUIT`` in the environment makes TERM do what QUIT does.
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
from taskq.logs import log_descriptor
from taskq.worker.node import Node

Handler = Callable[[int, FrameType | None], Any]


class SignalHandlers:
    """Installs handlers for one node; ``restarting`` says afterwards whether it is to start again.

    Whoever wants it to stop gets that, before or after a HUP. ``restarted`` says that it
    was HUP that started this process.
    """

    def __init__(self, node: Node, *, restarted: bool = False) -> None:
        self._node = node
        self._restarted = restarted
        self._interrupts = 0
        self._stopped = False
        self._restart = False
        # A terminal that is closed takes its programs with it: none goes on behind the user's back.
        self._may_restart = not _in_terminal()

    def install(self) -> None:
        """Install the handlers; on the main thread."""
        remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
        handlers: dict[signal.Signals, Handler] = {
            signal.SIGTERM: self._on_quit if remapped else self._on_term,
            signal.SIGINT: self._on_int,
            signal.SIGQUIT: self._on_quit,
        }
        # What nohup has it ignore stays ignored; after a restart it is restarting() that had it so.
        if self._restarted or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            handlers[signal.SIGHUP] = self._on_hup
        for number, handler in handlers.items():
            signal.signal(number, handler)
        faulthandler.register(signal.SIGUSR1, file=log_descriptor() or sys.stderr, all_threads=True)

    def restarting(self) -> bool:
        """Tell whether HUP asked for a new start and nobody for an end.

        If so, this process is as good as gone: from here on a signal to stop ends it at
        once, and another HUP is one too many.
        """
        if self._restart:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                # One that has come by now is handled first, by the handler that goes.
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self._restart

    def _post(self, call: Callable[..., None], **kwargs: Any) -> None:
        # A handler may interrupt anything: the loop does it when it comes round.
        self._node.inbox.post(lambda: call(**kwargs))

    def _stop(self) -> None:
        self._stopped = True
        self._restart = False

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self._stop()
        self._post(self._node.stop, sig="SIGTERM")

    def _on_int(self, number: int, frame: FrameType | None) -> None:
        self._stop()
        self._interrupts += 1
        if self._interrupts == 1:
            self._post(self._node.stop, sig="SIGINT")
        else:
            self._post(self._node.stop_cold, sig="SIGINT")

    def _on_quit(self, number: int, frame: FrameType | None) -> None:
        self._stop()
        self._post(self._node.stop_cold, sig="SIGQUIT", after=settings.SOFT_SHUTDOWN_TIMEOUT)

    def _on_hup(self, number: int, frame: FrameType | None) -> None:
        self._restart = self._may_restart and not self._stopped
        self._post(self._node.stop, sig="SIGHUP")


def _in_terminal() -> bool:
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False
