"""``Task.update_state``: custom states of a running task.

The task's process writes no row: the context's ``report`` sends the state to the worker's main process. A thread
that a task has started has no context of its own; it finds that of the task among the runs of the process.
"""

from __future__ import annotations

from typing import Any

from taskq import states
from taskq.calls.context import Context, innermost_of, runs
from taskq.calls.definition import TaskDefinition
from taskq.messages.protocol.options import is_storable, plain

#: The longest state in a row, in characters.
_LONGEST = 50


def update(task: TaskDefinition, task_id: str | None, state: str | None, meta: Any) -> None:
    """Report the ``state`` of a run in this process; a direct call without ``task_id`` reports nothing.

    Raises ``ValueError`` for a task that does not run in this process and for a final or invalid state,
    ``RuntimeError`` if it is not clear which run is meant, and ``EncodeError`` for ``meta`` that can't be stored.
    """
    context = _run_of(task, task_id)
    state = plain(state)
    if state in states.READY_STATES:
        raise ValueError(f"update_state() can't make a task {state}: return a value or raise an exception.")
    if state and not (isinstance(state, str) and len(state) <= _LONGEST and is_storable(state)):
        raise ValueError(f"update_state(): a state is a text of at most {_LONGEST} characters, not {state!r:.100}.")
    if context.report is not None and context.id is not None:
        context.report(context.id, state or states.STARTED, meta)


def _run_of(task: TaskDefinition, task_id: str | None) -> Context:
    """Return the context of ``task_id``, by default of the run of ``task`` in this thread, or of its only run."""
    here = innermost_of(task)
    if task_id is None:
        return here or _only_run_of(task)
    if here is not None and here.id == task_id:
        return here
    try:
        return runs()[task_id]
    except KeyError:
        raise ValueError(
            f"update_state() can only change a task while it runs, and from its own process: {task_id!r} does not "
            "run in this one."
        ) from None


def _only_run_of(task: TaskDefinition) -> Context:
    """Return the only run of ``task``, for a thread that the task has started: it knows nothing of the run."""
    found = [context for context in runs().values() if context.definition is task]
    if len(found) != 1:
        why = "does not run here" if not found else f"runs {len(found)} times in this process"
        raise RuntimeError(f"update_state(): {task.name} {why}, so task_id= must say which run is meant.")
    return found[0]
