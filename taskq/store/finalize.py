"""How the ends of tasks that belong to workflows are written, so that each counts once.

Called by ``workflows``, in the transaction that there is. Of an end whose run is not kept, because
its result is ignored or it has none, the node tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from taskq import states
from taskq.engines import Engine
from taskq.models import Node, TaskRun
from taskq.records import Settlement


def write(engine: Engine, settlements: Sequence[Settlement]) -> set[str]:
    """Write the runs; return the ids of the tasks whose end this is."""
    over = _over_before(engine, [s.task_id for s in settlements if not s.keep or s.state == states.IGNORED])
    if over:
        settlements = [s for s in settlements if s.task_id not in over]
    stays = [s for s in settlements if s.state == states.IGNORED]
    dropped = [s for s in settlements if s.state != states.IGNORED and not (s.keep or _is_awaited(s))]
    gone = {s.task_id for s in (*stays, *dropped)}
    kept = [s for s in settlements if s.task_id not in gone]
    first = engine.end_runs(kept) if kept else set()
    if dropped:
        first |= _drop(engine, dropped)
    if stays:
        first |= _stay(engine, stays)
    _mark_awaited(engine, [s.task_id for s in kept if not s.keep])
    return first


def _over_before(engine: Engine, task_ids: Sequence[str]) -> set[str]:
    """Return which of tasks of whose ends no runs are kept have ended before: their nodes say so.

    Locked, so that of two deliveries that end at once the second one sees what the first one has noted.
    """
    if not task_ids:
        return set()
    nodes = Node.objects.using(engine.alias).select_for_update().filter(task_id__in=task_ids).order_by("task_id")
    return {task_id for task_id, state in nodes.values_list("task_id", "state") if state}


def _stay(engine: Engine, settlements: Sequence[Settlement]) -> set[str]:
    """Note that tasks ended without a state, but for those that were replaced; return whose ends these are."""
    first = {s.task_id for s in settlements} - _final(engine, settlements)
    over = [s for s in settlements if s.task_id in first and not s.follow_ups]
    note_dropped(engine, over)
    leave(engine, [s.task_id for s in over if s.tracked])
    return first


def leave(engine: Engine, task_ids: Sequence[str]) -> None:
    """Leave tasks that ended without a state as they said themselves; of others there is nothing to keep for ever."""
    if task_ids:
        rows = TaskRun.objects.using(engine.alias).filter(task_id__in=task_ids)
        rows.filter(state=states.PENDING)._raw_delete(engine.alias)
        rows.filter(finished_at=None).update(finished_at=datetime.fromtimestamp(engine.now(), UTC))


def _is_awaited(s: Settlement) -> bool:
    """Tell whether a result that is ignored is kept until the chord's body has it."""
    return s.member and s.state == states.SUCCESS and s.result is not None


def _mark_awaited(engine: Engine, task_ids: Sequence[str]) -> None:
    if task_ids:
        Node.objects.using(engine.alias).filter(task_id__in=task_ids).update(ignored=True)


def _drop(engine: Engine, settlements: Sequence[Settlement]) -> set[str]:
    """Keep no row of ends that nobody wants; return whose ends these are: what has no row any more has ended before."""
    tracked = [s.task_id for s in settlements if s.tracked]
    rows = TaskRun.objects.using(engine.alias).filter(task_id__in=tracked).exclude(state__in=states.READY_STATES)
    present = set(rows.select_for_update().values_list("task_id", flat=True)) if tracked else set()
    if present:
        TaskRun.objects.using(engine.alias).filter(task_id__in=sorted(present))._raw_delete(engine.alias)
    first = present | {s.task_id for s in settlements if not s.tracked}
    note_dropped(engine, [s for s in settlements if s.task_id in first])
    return first


def note_dropped(engine: Engine, settlements: Sequence[Settlement]) -> None:
    """Note in their nodes how tasks ended of which no row is kept. A task by itself has none.

    One that was replaced has one, though it is its own root: what took its place has a parent.
    """
    by_state: dict[str, list[str]] = {}
    for s in settlements:
        if s.member or s.follow_ups or s.dependents or s.parent_id or s.root_id not in ("", s.task_id):
            by_state.setdefault(s.state, []).append(s.task_id)
    for state, task_ids in by_state.items():
        Node.objects.using(engine.alias).filter(task_id__in=sorted(task_ids)).update(state=state)


def _final(engine: Engine, settlements: Sequence[Settlement]) -> set[str]:
    rows = TaskRun.objects.using(engine.alias).filter(task_id__in=[s.task_id for s in settlements])
    return set(rows.filter(state__in=states.READY_STATES).values_list("task_id", flat=True))
