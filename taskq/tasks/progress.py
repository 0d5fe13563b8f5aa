"""States of its own that a running task writes: ``Task.update_state``.

The task's process writes nothing by itself: the worker's execution gave the
context a ``report`` that carries it to who may write.
"""

from __future__ import annotations

from typing import Any

from taskq import states

from .context import Context


def update(context: Context, task_id: str | None, state: str | None, meta: Any) -> None:
    """Report that the run of ``context`` is in ``state``.

    Raises ``ValueError`` for the id of another task and for a final state, and
    ``EncodeError`` for ``meta`` that can't be stored.
    """
    if task_id is not None and context.id is not None and task_id != context.id:
        raise ValueError(f"update_state() can only change the task that runs, {context.id}, not {task_id}.")
    if state in states.READY_STATES:
        raise ValueError(f"update_state() can't make a task {state}: return a value or raise an exception.")
    if context.report is not None and context.id is not None:
        context.report(context.id, state or states.STARTED, meta)
