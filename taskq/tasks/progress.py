"""``Task.update_state`` and ``Task.send_event``: custom states and events of a running task.

The task's process writes no row: the context's ``report`` sends both to the worker's main process. A thread
that a task has started has no context of its own; it finds that of the task among the runs of the process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from taskq import states
from taskq.calls.context import Context, innermost_of, runs
from taskq.calls.definition import TaskDefinition
from taskq.messages import values
from taskq.messages.protocol.options import is_storable, plain

#: The longest state in a row, in characters.
_LONGEST = 50
#: The type of an event, and its fields as JSON, in characters at most.
_KIND = re.compile(r"[a-z0-9_]+(-[a-z0-9_]+)+", re.ASCII | re.IGNORECASE)
_LONGEST_KIND, _MOST_FIELDS = 100, 65_536
#: Fields that the worker writes, and no caller.
_WORKERS_FIELDS = frozenset({"type", "uuid", "timestamp", "clock", "hostname", "pid", "utcoffset"})


def update(task: TaskDefinition, task_id: str | None, state: str | None, meta: Any) -> None:
    """Report the ``state`` of a run in this process; a direct call without ``task_id`` reports nothing.

    Raises ``ValueError`` for a task that does not run in this process and for a final or invalid state,
    ``RuntimeError`` if it is not clear which run is meant, and ``EncodeError`` for ``meta`` that can't be stored.
    """
    context = _run_of(task, task_id, "update_state()")
    state = plain(state)
    if state in states.READY_STATES:
        raise ValueError(f"update_state() can't make a task {state}: return a value or raise an exception.")
    if state and not (isinstance(state, str) and len(state) <= _LONGEST and is_storable(state)):
        raise ValueError(f"update_state(): a state is a text of at most {_LONGEST} characters, not {state!r:.100}.")
    if context.report is not None and context.id is not None:
        context.report(context.id, state or states.STARTED, meta)


def send_event(task: TaskDefinition, kind: str, fields: Mapping[str, Any]) -> None:
    """Report an event of the current run; a direct call reports nothing. See ``Task.send_event``."""
    context = _run_of(task, None, "send_event()")
    kind = plain(kind)
    if not (isinstance(kind, str) and len(kind) <= _LONGEST_KIND and _KIND.fullmatch(kind)):
        raise ValueError(
            f"send_event(): a type is two words or more with hyphens, such as 'task-progress', not {kind!r:.100}."
        )
    own = {name: value for name, value in fields.items() if name not in _WORKERS_FIELDS}
    text, _ = values.encode(own, "json", what="the fields of send_event()")
    if len(text) > _MOST_FIELDS:
        raise ValueError(f"send_event(): the fields have {len(text):,} characters as JSON, {_MOST_FIELDS:,} at most.")
    if context.report is not None and context.id is not None:
        context.report(context.id, "", text, kind)


def _run_of(task: TaskDefinition, task_id: str | None, called: str) -> Context:
    """Return the context of the run ``task_id``; without an id that of ``task`` in this thread, or of its only run."""
    here = innermost_of(task)
    if task_id is None:
        return here or _only_run_of(task, called)
    if here is not None and here.id == task_id:
        return here
    try:
        return runs()[task_id]
    except KeyError:
        raise ValueError(
            f"update_state() can only change a task while it runs, and from its own process: {task_id!r} does not "
            "run in this one."
        ) from None


def _only_run_of(task: TaskDefinition, called: str) -> Context:
    """Return the only run of ``task``, for a thread that the task has started and that has no context."""
    found = [context for context in runs().values() if context.definition is task]
    if len(found) != 1:
        why = "does not run here" if not found else f"runs {len(found)} times in this process"
        hint = "so task_id= must say which run is meant" if called == "update_state()" else "so it sends no event"
        raise RuntimeError(f"{called}: {task.name} {why}, {hint}.")
    return found[0]


class ProgressMethods:
    """The methods of ``Task`` by which a run tells how far it is."""

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None) -> None:
        """Write a custom state of the current run: ``self.update_state(state="PROGRESS", meta={"done": 3})``.

        A thread that the task has started may call it too. A direct call of the function writes nothing.

        Args:
            task_id: another task that runs in this process, instead of the current run.
            state: a text of at most 50 characters, not a final state; by default ``STARTED``.
            meta: any value that can be encoded.

        Raises:
            ValueError: the state can't be set, or ``task_id`` does not run in this process.
            RuntimeError: this thread belongs to no run of the task, and the process has none, or several.
            EncodeError: ``meta`` can't be stored.
        """
        update(cast(TaskDefinition, self), task_id, state, meta)

    def send_event(self, type: str, **fields: Any) -> None:
        """Send an event of the current run to monitors: ``self.send_event("task-progress", done=3, total=10)``.

        The event has the task's id as ``uuid``, and the fields of all events. Without events (``taskworker -E``),
        without a monitor, and in a direct call nothing is sent. Events are not kept. As Celery's method.

        Args:
            type: words with hyphens between them, which begin with ``task`` to be an event of a task.
            fields: values that JSON can carry, of 65,536 characters together.

        Raises:
            ValueError: the type is invalid, or the fields are too long.
            RuntimeError: this thread belongs to no run of the task, and the process has none, or several.
            EncodeError: a field can't be sent.
        """
        send_event(cast(TaskDefinition, self), type, fields)
