"""Remote control: commands to running workers, their mailbox, and the callers of both.

From Python, with Celery's names and arguments::

    from taskq import control

    control.inspect(["w1@host"]).active()
    control.revoke(task_id, terminate=True)
    control.broadcast("increase", {"by": 2}, reply=True)

``@control_command`` and ``@inspect_command`` in an app's ``control.py`` add commands.

Names are loaded on first use: a worker needs none of the callers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.dotted import late_names

if TYPE_CHECKING:
    from taskq.calls.never_again import never_retry as never_retry

    from .broadcasts import broadcast as broadcast
    from .caller import add_consumer as add_consumer
    from .caller import autoscale as autoscale
    from .caller import cancel_consumer as cancel_consumer
    from .caller import disable_events as disable_events
    from .caller import enable_events as enable_events
    from .caller import heartbeat as heartbeat
    from .caller import ping as ping
    from .caller import pool_grow as pool_grow
    from .caller import pool_restart as pool_restart
    from .caller import pool_shrink as pool_shrink
    from .caller import rate_limit as rate_limit
    from .caller import revoke as revoke
    from .caller import revoke_by_name as revoke_by_name
    from .caller import revoke_by_stamped_headers as revoke_by_stamped_headers
    from .caller import shutdown as shutdown
    from .caller import terminate as terminate
    from .caller import time_limit as time_limit
    from .inspector import Inspect as Inspect
    from .inspector import inspect as inspect
    from .pausing import pause_queue as pause_queue
    from .pausing import paused_queues as paused_queues
    from .pausing import resume_queue as resume_queue
    from .purging import discard_all as discard_all
    from .purging import purge as purge
    from .purging import purge_queue as purge_queue
    from .registry import control_command as control_command
    from .registry import inspect_command as inspect_command
    from .retrying import Counts as Counts
    from .retrying import Retried as Retried
    from .retrying import delete_runs as delete_runs
    from .retrying import move as move
    from .retrying import prioritize as prioritize
    from .retrying import retry as retry
    from .retrying import retry_many as retry_many
    from .workflows import retry_workflow as retry_workflow
    from .workflows import revoke_workflow as revoke_workflow
    from .workflows import revoke_workflow_part as revoke_workflow_part
    from .workflows import workflow_parts as workflow_parts

_WHERE = {
    "Counts": "taskq.control.retrying",
    "Inspect": "taskq.control.inspector",
    "Retried": "taskq.control.retrying",
    "add_consumer": "taskq.control.caller",
    "autoscale": "taskq.control.caller",
    "broadcast": "taskq.control.broadcasts",
    "cancel_consumer": "taskq.control.caller",
    "control_command": "taskq.control.registry",
    "delete_runs": "taskq.control.retrying",
    "disable_events": "taskq.control.caller",
    "discard_all": "taskq.control.purging",
    "enable_events": "taskq.control.caller",
    "heartbeat": "taskq.control.caller",
    "inspect": "taskq.control.inspector",
    "inspect_command": "taskq.control.registry",
    "move": "taskq.control.retrying",
    "never_retry": "taskq.calls.never_again",
    "pause_queue": "taskq.control.pausing",
    "paused_queues": "taskq.control.pausing",
    "ping": "taskq.control.caller",
    "pool_grow": "taskq.control.caller",
    "pool_restart": "taskq.control.caller",
    "pool_shrink": "taskq.control.caller",
    "prioritize": "taskq.control.retrying",
    "purge": "taskq.control.purging",
    "purge_queue": "taskq.control.purging",
    "rate_limit": "taskq.control.caller",
    "resume_queue": "taskq.control.pausing",
    "retry": "taskq.control.retrying",
    "retry_many": "taskq.control.retrying",
    "retry_workflow": "taskq.control.workflows",
    "revoke": "taskq.control.caller",
    "revoke_by_name": "taskq.control.caller",
    "revoke_by_stamped_headers": "taskq.control.caller",
    "revoke_workflow": "taskq.control.workflows",
    "revoke_workflow_part": "taskq.control.workflows",
    "shutdown": "taskq.control.caller",
    "terminate": "taskq.control.caller",
    "time_limit": "taskq.control.caller",
    "workflow_parts": "taskq.control.workflows",
}

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
    "discard_all",
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
    "purge",
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
    "revoke_workflow_part",
    "shutdown",
    "terminate",
    "time_limit",
    "workflow_parts",
]

__getattr__, __dir__ = late_names(__name__, _WHERE)
