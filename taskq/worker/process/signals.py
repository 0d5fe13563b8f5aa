"""The worker's handlers of the operating system's signals. Installed by ``worker.main``.

TERM: warm. INT: warm, a second time cold. QUIT: cold, after ``TASKQ_SOFT_SHUTDOWN_TIMEOUT``.
HUP: warm, and start again, or just warm in a terminal. USR1: write all threads' stacks to the log.
``REMAP_SIGTERM=SIGQUIT`` in the environment makes TERM do what QUIT does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Protocol

from taskq.conf import settings

from .stacks import write_stacks_on

Handler = Callable[[int, FrameType | None], Any]


class Stoppable(Protocol):
    """The worker's node, whose methods are called on its loop's thread."""

    def stop(self, *, sig: str) -> None:
        """Begin a warm shutdown."""

    def stop_cold(self, *, sig: str, after: float = 0.0) -> None:
        """Begin a cold shutdown, after ``after`` seconds."""


class SignalHandlers:
    """Installs handlers for one node; ``restarting`` tells afterwards whether the worker is to start again.

    A signal to stop wins over HUP, whichever comes first. ``post`` has a function called
    on the loop's thread. ``restarted``: HUP has started this process.
    """

    def __init__(self, node: Stoppable, post: Callable[[Callable[[], None]], None], *, restarted: bool = False) -> None:
        self._node = node
        self._post = post
        self._restarted = restarted
        self._interrupts = 0
        self._stopped = False
        self._restart = False
        # HUP from a terminal that is closed ends the worker, as it ends every program there.
        self._may_restart = not _in_terminal()

    def install(self) -> None:
        """Install the handlers; on the main thread."""
        remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
        handlers: dict[signal.Signals, Handler] = {
            signal.SIGTERM: self._on_quit if remapped else self._on_term,
            signal.SIGINT: self._on_int,
            signal.SIGQUIT: self._on_quit,
        }
        # Under nohup HUP is ignored, and stays so. After a restart it is restarting() that had it ignored.
        if self._restarted or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            handlers[signal.SIGHUP] = self._on_hup
        for number, handler in handlers.items():
            signal.signal(number, handler)
        write_stacks_on(signal.SIGUSR1)

    def restarting(self) -> bool:
        """Return whether the worker is to start again: HUP asked for it, and no signal to stop came.

        If so, a signal to stop ends this process at once from here on, and HUP is ignored.
        """
        if self._restart:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                # A signal that has arrived by now is handled first, by the old handler.
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self._restart

    # Handlers may interrupt any code, so they only post: the loop makes the call in its next round.

    def _stop(self, call: Callable[..., None], **kwargs: Any) -> None:
        self._stopped = True
        self._restart = False
        self._post(partial(call, **kwargs))

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self._stop(self._node.stop, sig="SIGTERM")

    def _on_int(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        self._stop(self._node.stop if self._interrupts == 1 else self._node.stop_cold, sig="SIGINT")

    def _on_quit(self, number: int, frame: FrameType | None) -> None:
        self._stop(self._node.stop_cold, sig="SIGQUIT", after=settings.SOFT_SHUTDOWN_TIMEOUT)

    def _on_hup(self, number: int, frame: FrameType | None) -> None:
        self._restart = self._may_restart and not self._stopped
        self._post(partial(self._node.stop, sig="SIGHUP"))


def _in_terminal() -> bool:
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):  # no standard input, or a closed one
        return False
