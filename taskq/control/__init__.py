"""Remote control: commands to running workers, their mailbox, and the callers of both.

From Python, with Celery's names and arguments::

    from taskq import control

    control.inspect(["w1@host"]).active()
    control.revoke(task_id, terminate=True)
    control.broadcast("increase", {"by": 2}, reply=True)

``@control_command`` and ``@inspect_command`` in an app's ``control.py`` add commands.
"""

from __future__ import annotations

from taskq.calls.again import never_retry

from .broadcasts import broadcast
from .caller import (
    add_consumer,
    autoscale,
    cancel_consumer,
    disable_events,
    enable_events,
    heartbeat,
    ping,
    pool_grow,
    pool_restart,
    pool_shrink,
    rate_limit,
    revoke,
    revoke_by_name,
    revoke_by_stamped_headers,
    shutdown,
    terminate,
    time_limit,
)
from .inspector import Inspect
from .pausing import pause_queue, paused_queues, resume_queue
from .purging import purge_queue
from .registry import control_command, inspect_command
from .retrying import Counts, Retried, delete_runs, move, prioritize, retry, retry_many
from .workflows import retry_workflow, revoke_workflow

inspect = Inspect

__all__ = [
    "Counts",
    "Inspect",
    "Retried",
    "add_consumer",
    "autoscale",
    "broadcast",
    "cancel_consumer",
    "control_command",
    "delete_runs",
    "disable_events",
    "enable_events",
    "heartbeat",
    "inspect",
    "inspect_command",
    "move",
    "never_retry",
    "pause_queue",
    "paused_queues",
    "ping",
    "pool_grow",
    "pool_restart",
    "pool_shrink",
    "prioritize",
    "purge_queue",
    "rate_limit",
    "resume_queue",
    "retry",
    "retry_many",
    "retry_workflow",
    "revoke",
    "revoke_by_name",
    "revoke_by_stamped_headers",
    "revoke_workflow",
    "shutdown",
    "terminate",
    "time_limit",
]
