"""Ends: which rows are those of tasks that have ended. Reads only; called by ``retry`` and ``retention``."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from taskq import states
from taskq.engines import Engine
from taskq.models import Message, ScheduledMessage, TaskRun

#: States in which no task ends. ``STARTED`` is not among them: a task that raises ``Ignore`` keeps it.
_WAITING = frozenset({states.PENDING, states.RECEIVED, states.RETRY, states.REJECTED})


def ended_runs(engine: Engine, runs: Iterable[TaskRun]) -> list[TaskRun]:
    """Return those of ``runs`` that have ended: in a final state, or by raising ``Ignore``.

    A task that raised ``Ignore`` keeps the state that it had. It has ended if its row has ``finished_at`` and it has no
    message left: a task that waits for its next try has one.
    """
    found = [run for run in runs if run.state in states.READY_STATES or _may_be_ignored(run)]
    waiting = _with_messages(engine, [run.task_id for run in found if run.state not in states.READY_STATES])
    return [run for run in found if run.task_id not in waiting]


def _may_be_ignored(run: TaskRun) -> bool:
    return run.finished_at is not None and run.state not in _WAITING


def _with_messages(engine: Engine, task_ids: Collection[str]) -> set[str]:
    if not task_ids:
        return set()
    models = (Message, ScheduledMessage)
    found = (model._base_manager.using(engine.alias).filter(task_id__in=task_ids) for model in models)
    return {task_id for rows in found for task_id in rows.values_list("task_id", flat=True)}
