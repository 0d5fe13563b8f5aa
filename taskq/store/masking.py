"""Masks the arguments of TaskRuns that were sent by a process that does not know the task. Called by ``settle``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from taskq.calls import masking
from taskq.calls.registry import tasks
from taskq.engines import Engine
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
            runs.filter(task_id=task_id).update(arguments=masked)


def _masked(name: str, text: Any) -> str | None:
    """Return the text of the arguments with sensitive values masked, ``None`` if it can't be looked through."""
    try:
        args, kwargs, *_ = json.loads(text)
        found = masking.shown(name, args, kwargs)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return text if found is None or [*found] == [args, kwargs] else json.dumps([*found, {"masked": True}])
