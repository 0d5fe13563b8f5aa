"""Errbacks, with Celery's two calling conventions.

A new one takes more than one positional argument and is called with ``(request, exc, traceback)``:
in place where the task failed, or by the task ``taskq.errback`` when that process is gone.
An old one, or one that is not known here, is sent as a task with the failed task's id.
What one of them raises is logged, and nothing else.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from taskq.canvas import plan as planning
from taskq.store.records import Envelope
from taskq.tasks.registry import tasks

logger = logging.getLogger("taskq.worker")
#: The built-in task that calls a new errback of a task whose process is gone.
TASK = "taskq.errback"
Signature = Mapping[str, Any]
_WHERE = ("queue", "exchange", "routing_key", "priority")


def as_list(called: Any) -> list[Signature]:
    """Return errbacks as a list: an embedded one may stand alone."""
    found = called if isinstance(called, list | tuple) else [called]
    return [errback for errback in found if isinstance(errback, Mapping)]


def is_new(errback: Signature) -> bool:
    """Tell whether the errback is a task known here that takes more than one positional argument."""
    task = tasks.get(errback.get("task") or "")
    if task is None or errback.get("subtask_type"):
        return False
    kinds = [parameter.kind for parameter in task.call_signature.parameters.values()]
    return len(task.positions) > 1 or inspect.Parameter.VAR_POSITIONAL in kinds


def call(errback: Signature, request: Any, error: BaseException, traceback: Any) -> Any:
    """Call a new errback here and now; it may return a coroutine."""
    task = tasks[errback["task"]]
    return task(request, error, traceback, *(errback.get("args") or ()), **(errback.get("kwargs") or {}))


def as_task(errback: Signature, task_id: str, root_id: str) -> list[Envelope]:
    """Return the messages of an old errback."""
    return list(planning.plan_errback(errback, task_id=task_id, root_id=root_id).envelopes)


def message(
    errback: Signature, headers: Mapping[str, Any], error: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Envelope]:
    """Return the messages that call an errback of a task whose process can't."""
    task_id = headers["id"]
    root_id = headers.get("root_id") or task_id
    if not is_new(errback):
        return as_task(errback, task_id, root_id)
    about = {"task": TASK, "args": [dict(errback), {**headers}, error, list(args), dict(kwargs)], "kwargs": {}}
    sig = {**about, "options": {}, "subtask_type": None, "immutable": True}
    # It goes where the errback itself would be sent.
    given = {name: value for name in _WHERE if (value := (errback.get("options") or {}).get(name)) is not None}
    plan = planning.plan_frozen(sig, root_id=root_id, parent_id=task_id, route_name=errback["task"], **given)
    return list(plan.envelopes)
