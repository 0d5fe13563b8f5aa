"""Writes the ends of linked tasks, so that each counts once.

Called by ``workflow_rows``, and for tasks without a workflow by ``settle``, in the caller's transaction.
``Node.state`` is the only record of an end without a run: its result is ignored, or the task has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from taskq import states
from taskq.engines import Engine
from taskq.models import Node, TaskRun
from taskq.records import End, Settlement

from . import large_results, logs
from .sealed_values import seal_values


def write(engine: Engine, settlements: Sequence[Settlement]) -> set[str]:
    """Write the runs; return the ids of the tasks that had not ended before."""
    without_run = [s.task_id for s in settlements if not s.keep or s.state == states.IGNORED]
    ended_before = _ended_by_nodes(engine, without_run)
    by_end: dict[End, list[Settlement]] = {end: [] for end in End}
    for s in settlements:
        if s.task_id not in ended_before:
            by_end[s.end].append(s)
    kept = sorted(by_end[End.KEPT] + by_end[End.KEPT_FOR_BODY], key=lambda s: s.task_id)
    seal_values(kept)
    newly_ended = engine.end_runs(kept) if kept else set()
    large_results.move(engine, [s for s in kept if s.result_row and s.task_id in newly_ended])
    newly_ended |= _delete_ignored(engine, by_end[End.DROPPED])
    newly_ended |= _finish_without_state(engine, by_end[End.WITHOUT_STATE] + by_end[End.REPLACED])
    _mark_kept_for_body(engine, [s.task_id for s in by_end[End.KEPT_FOR_BODY]])
    return newly_ended


def _ended_by_nodes(engine: Engine, task_ids: Sequence[str]) -> set[str]:
    """Return the ids that have ended by their nodes. These tasks keep no TaskRun, so ``Node.state`` is the only record.

    The nodes are locked: of two deliveries that end at once, the second reads the note of the first.
    """
    if not task_ids:
        return set()
    nodes = Node.objects.using(engine.alias).select_for_update().filter(task_id__in=task_ids).order_by("task_id")
    return {task_id for task_id, state in nodes.values_list("task_id", "state") if state}


def _finish_without_state(engine: Engine, settlements: Sequence[Settlement]) -> set[str]:
    """Note in their nodes that tasks ended without a state, except replaced tasks; return the ids that end now."""
    if not settlements:
        return set()
    newly_ended = {s.task_id for s in settlements} - _ended_by_runs(engine, settlements)
    ended = [s for s in settlements if s.task_id in newly_ended and not s.replaced]
    note_ended(engine, ended)
    finish_pending(engine, [s.task_id for s in ended if s.tracked])
    return newly_ended


def finish_pending(engine: Engine, task_ids: Sequence[str]) -> None:
    """Finish the runs of tasks that ended without a state: the task's own state stays, a pending run is deleted."""
    if task_ids:
        rows = TaskRun.objects.using(engine.alias).filter(task_id__in=task_ids)
        rows.filter(state=states.PENDING)._raw_delete(engine.alias)
        rows.filter(finished_at=None).update(finished_at=datetime.fromtimestamp(engine.now(), UTC))


def _mark_kept_for_body(engine: Engine, task_ids: Sequence[str]) -> None:
    if task_ids:
        Node.objects.using(engine.alias).filter(task_id__in=task_ids).update(ignored=True)


def _delete_ignored(engine: Engine, settlements: Sequence[Settlement]) -> set[str]:
    """Delete the runs of ignored results; return the ids that end now. A tracked task without a run ended before."""
    if not settlements:
        return set()
    tracked = [s.task_id for s in settlements if s.tracked]
    rows = TaskRun.objects.using(engine.alias).filter(task_id__in=tracked).exclude(state__in=states.READY_STATES)
    present = set(rows.select_for_update().values_list("task_id", flat=True)) if tracked else set()
    if present:
        TaskRun.objects.using(engine.alias).filter(task_id__in=sorted(present))._raw_delete(engine.alias)
    newly_ended = present | {s.task_id for s in settlements if not s.tracked}
    logs.forget(sorted(newly_ended), engine.alias)
    note_ended(engine, [s for s in settlements if s.task_id in newly_ended])
    return newly_ended


def note_ended(engine: Engine, settlements: Sequence[Settlement]) -> None:
    """Note in their nodes how tasks ended that keep no run. A task outside of workflows has no node.

    A replaced task has a node, though it is its own root: its replacement has a parent.
    """
    by_state: dict[str, list[str]] = {}
    for s in settlements:
        if s.member or s.follow_ups or s.parent_id or s.root_id not in ("", s.task_id):
            by_state.setdefault(s.state, []).append(s.task_id)
    for state, task_ids in by_state.items():
        Node.objects.using(engine.alias).filter(task_id__in=sorted(task_ids)).update(state=state)


def _ended_by_runs(engine: Engine, settlements: Sequence[Settlement]) -> set[str]:
    """Return the ids whose TaskRuns are final."""
    rows = TaskRun.objects.using(engine.alias).filter(task_id__in=[s.task_id for s in settlements])
    return set(rows.filter(state__in=states.READY_STATES).values_list("task_id", flat=True))
