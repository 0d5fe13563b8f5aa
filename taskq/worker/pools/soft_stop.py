"""Soft stop: ``TaskTerminated`` is raised inside the task that a child runs, by a signal to the child.

The child sets the handler, the main process has the signal sent. The handler looks whether the task's function runs, so
it costs nothing while nobody is stopped. As with soft time limits, code that does not return to Python goes on.
"""

from __future__ import annotations

import signal
from types import CodeType, FrameType

from taskq.exceptions import TaskTerminated
from taskq.execution import call

#: The signal that raises ``TaskTerminated``.
SOFT_STOP = signal.SIGUSR2
#: The code that calls the task's function.
_CALLER: CodeType = call.call.__code__


def obey_soft_stops() -> None:
    """Set the handler, in this process."""
    signal.signal(SOFT_STOP, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Raise in the task, if it still runs: it may just have ended."""
    while frame is not None:
        if frame.f_code is _CALLER:
            raise TaskTerminated("terminated")
        frame = frame.f_back
