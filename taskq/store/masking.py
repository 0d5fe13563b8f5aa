"""Masks the arguments of TaskRuns that were sent by a process that does not know the task. Called by ``settle``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from taskq.calls import masking
from taskq.calls.registry import tasks
from taskq.engines import Engine
from taskq.exceptions import SignatureMismatch
from taskq.messages import arguments
from taskq.models import TaskRun
from taskq.records import Settlement


def mask_arguments(engine: Engine, settled: Sequence[Settlement]) -> None:
    """Mask sensitive arguments in the rows of settled tasks, in the caller's transaction.

    Where the task has run, its settlement has ``arguments`` if some are sensitive. Of the others the rows are read.
    """
    ids = [s.task_id for s in settled if s.arguments is not None or s.started is None or s.name in tasks.guarded]
    if not ids:
        return
    runs = TaskRun.objects.using(engine.alias)
    rows = runs.filter(task_id__in=ids, arguments__isnull=False).order_by("task_id")
    for task_id, name, text in rows.values_list("task_id", "name", "arguments"):
        if (masked := _masked(name, text)) != text:
            runs.filter(task_id=task_id).update(arguments=_sealed(masked, text or "", task_id, name))


def _sealed(masked: str | None, text: str, task_id: str, name: str) -> str | None:
    """Return the masked text with a seal, if the text that it is made of had one."""
    try:
        arguments.verify(text, task_id, name)
    except SignatureMismatch:
        return masked
    return arguments.seal(masked, task_id, name)


def _masked(name: str, text: Any) -> str | None:
    """Return the text of the arguments with sensitive values masked, ``None`` if it can't be looked through."""
    try:
        args, kwargs, *_ = json.loads(text)
        found = masking.shown(name, args, kwargs)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return text if found is None or [*found] == [args, kwargs] else json.dumps([*found, {"masked": True}])
