"""Remote control: commands to running workers, their mailbox, and the callers of both.

From Python, with Celery's names and arguments::

    from taskq import control

    control.inspect(["w1@host"]).active()
    control.revoke(task_id, terminate=True)
    control.broadcast("increase", {"by": 2}, reply=True)

``@control_command`` and ``@inspect_command`` in an app's ``control.py`` add commands.
"""

from __future__ import annotations

from .broadcasts import broadcast
from .caller import (
    ping,
    shutdown,
)
from .inspector import Inspect
from .registry import control_command, inspect_command

inspect = Inspect

__all__ = [
    "Inspect",
    "broadcast",
    "control_command",
    "inspect",
    "inspect_command",
    "ping",
    "shutdown",
]
