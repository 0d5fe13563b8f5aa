"""``Task.update_state``: custom states of a running task.

The task's process writes no row: the context's ``report`` sends the state to the worker's main process.
"""

from __future__ import annotations

from typing import Any

from taskq import states
from taskq.calls.context import Context
from taskq.messages.protocol.options import is_storable, plain

#: The longest state in a row, in characters.
_LONGEST = 50


def update(context: Context, task_id: str | None, state: str | None, meta: Any) -> None:
    """Report the ``state`` of the run of ``context``.

    Raises ``ValueError`` for the id of another task and for a final or invalid state, and
    ``EncodeError`` for ``meta`` that can't be stored.
    """
    if task_id is not None and context.id is not None and task_id != context.id:
        raise ValueError(f"update_state() can only change the task that runs, {context.id}, not {task_id}.")
    state = plain(state)
    if state in states.READY_STATES:
        raise ValueError(f"update_state() can't make a task {state}: return a value or raise an exception.")
    if state and not (isinstance(state, str) and len(state) <= _LONGEST and is_storable(state)):
        raise ValueError(f"update_state(): a state is a text of at most {_LONGEST} characters, not {state!r:.100}.")
    if context.report is not None and context.id is not None:
        context.report(context.id, state or states.STARTED, meta)
