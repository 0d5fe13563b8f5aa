"""Retention: the rows of ended tasks are deleted, on request or by age, a small batch at a time.

``sweep`` is a pass over everything; a worker does one each minute (``worker/duties/maintenance.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, TypeVar

from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from taskq import states
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.messages.protocol.options import is_storable
from taskq.models import (
    Attempt,
    Failure,
    Group,
    KeptMessage,
    Lease,
    Message,
    Node,
    Rerun,
    Revocation,
    ScheduledMessage,
    TaskEvent,
    TaskLog,
    TaskRun,
)
from taskq.models.fields import Octets
from taskq.workflows.parts import PENDING_RANGE

from . import failures, large_results, leadership, statistics
from .ends import ended_runs

#: How many rows one transaction deletes.
BATCH = 500
#: How many batches of failures and of kept messages one pass looks at for those whose runs are gone.
_ORPHAN_BATCHES = 10
#: How long events and logs of tasks without a run are kept where runs are kept for ever.
_EVENTS_KEPT = timedelta(days=1)
#: How long the row of a large result waits for the settlement of its task, whatever the settings say of runs.
_RESULTS_KEPT = timedelta(days=1)
#: A place in an index of ages: a time and the id of a row.
Place = tuple[datetime, int]
#: By table, the place up to which the passes so far have looked: older rows that are still there are kept for ever.
Marks = dict[str, Place]
Key = TypeVar("Key", int, str)


def forget(task_ids: Sequence[str], alias: str | None = None) -> int:
    """Delete the rows of ended tasks, with all that is kept of each; return how many tasks they were.

    Tasks that have not ended keep their rows. The result of a member of a chord whose body is still to come is
    deleted when the body gets it.
    """
    alias = alias or settings.DATABASE
    return _delete(task_ids, (*states.READY_STATES,), alias)


def delete(task_ids: Sequence[str], alias: str | None = None) -> tuple[list[str], list[str]]:
    """Delete the rows of ended tasks; return the ids of these, and of the tasks that have not ended."""
    alias = alias or settings.DATABASE
    ids = [task_id for task_id in task_ids if is_storable(task_id)]
    engine = for_alias(alias)
    with engine.atomic():
        runs = TaskRun.objects.using(alias).filter(task_id__in=ids).only("task_id", "state", "finished_at")
        found = {run.task_id: run.state for run in ended_runs(engine, runs)}
        left = sorted(run.task_id for run in runs if run.task_id not in found)
        _delete([*found], {*found.values()}, alias)
        return sorted(found), left


def _delete(task_ids: Sequence[str], ended: Collection[str], alias: str) -> int:
    with for_alias(alias).atomic():
        members = Node.objects.using(alias).filter(task_id__in=task_ids).exclude(group_id="")
        awaited = set(members.filter(Exists(_awaiting())).values_list("task_id", flat=True))
        if awaited:
            Node.objects.using(alias).filter(task_id__in=awaited).update(ignored=True)
        runs = TaskRun.objects.using(alias).filter(state__in=ended)
        gone = dict(runs.filter(task_id__in=set(task_ids) - awaited).values_list("id", "task_id"))
        if not gone:
            return len(awaited)
        for kept_apart in (Attempt, KeptMessage, TaskEvent, TaskLog, Rerun):
            kept_apart.objects.using(alias).filter(task_id__in=gone.values())._raw_delete(alias)
        failures.forget(gone, alias, blank=states.FAILURE in ended)
        # By their keys, and only if none was sent again meanwhile.
        return len(awaited) + runs.filter(id__in=gone)._raw_delete(alias)


def _awaiting() -> QuerySet[Group]:
    """Return the group of a node or run, as a subquery, if a body still waits for its members, or for their values."""
    unfinished = Group.objects.filter(failed=False, body__isnull=False)
    return unfinished.filter(group_id=OuterRef("group_id"))


def _pending(root_id: Any) -> QuerySet[Group]:
    """Return the pending rows of a workflow: some of its follow-ups in parts were not sent yet, or did not fail yet."""
    first, behind = PENDING_RANGE
    return Group.objects.filter(group_id__gte=first, group_id__lt=behind, root_id=root_id)


def sweep(marks: Marks, alias: str | None = None, limit: int = BATCH) -> Iterator[int]:
    """Delete all rows that are over age, oldest first; yield after each transaction how many it deleted.

    Each batch is read from an index of ages behind the last one, so that a batch costs the same however large the
    tables are, and rows that stay hold up no others. ``marks`` is for the next pass.
    """
    alias = alias or settings.DATABASE
    for state in _ended_states(alias):
        age = ages().get(state, settings.RESULT_EXPIRES)
        if age is not None:
            yield from _expire_runs(state, _before(age, alias), limit, alias)
    finite = [age for age in ages().values() if age is not None]
    for_ever = len(finite) < len(ages())
    if finite:
        before = _before(max(finite), alias)
        yield from _expire_attempts(before, limit, alias, marks if for_ever else None)
        yield from _expire_reruns(before, limit, alias, marks if for_ever else None)
        yield from _expire_nodes(before, limit, alias, marks if for_ever else None)
        yield from _expire_groups(before, limit, alias)
    yield from _expire_results(_before(_RESULTS_KEPT, alias), limit, alias)
    yield from _delete_orphans(Failure, limit, alias, marks)
    yield from _delete_orphans(KeptMessage, limit, alias, marks)
    before = _before(max(finite, default=_EVENTS_KEPT), alias)
    for model in (TaskEvent, TaskLog):
        yield from _expire_events(model, before, limit, alias, marks if for_ever else None)
    yield from statistics.expire(limit, alias)
    kept = settings.RESULT_FAILURE_EXPIRES
    yield from failures.expire(None if kept is None else _before(kept, alias), limit, alias)
    if settings.REVOKES_EXPIRE is not None:
        yield from _expire_revocations(_before(settings.REVOKES_EXPIRE, alias), limit, alias)
    leadership.note_done(Lease.RETENTION, alias)


def ages() -> dict[str, timedelta | None]:
    """Return how long the rows of each final state are kept; ``None`` is for ever.

    ``STARTED`` is among them: a task that raises ``Ignore`` ends, and keeps the state that it had. A state of the
    user's own is kept as long.
    """
    kept, failed = settings.RESULT_EXPIRES, settings.RESULT_FAILURE_EXPIRES
    return {states.SUCCESS: kept, states.REVOKED: kept, states.STARTED: kept, states.FAILURE: failed}


def _before(age: timedelta, alias: str) -> datetime:
    return datetime.fromtimestamp(for_alias(alias).now(), UTC) - age


def _ended_states(alias: str) -> Iterator[str]:
    """Yield the states that runs have, the user's own among them: one look at an index for each."""
    runs, state = TaskRun.objects.using(alias).order_by("state").values_list("state", flat=True), ""
    while (state := runs.filter(state__gt=state).first() or "") != "":
        yield state


def _batches(rows: QuerySet[Any], column: str, limit: int, after: Place | None) -> Iterator[list[Any]]:
    """Yield ``rows`` in lists of ``limit`` by the time in ``column`` and by id; the first one is behind ``after``.

    The first two fields of each row are its time and its id.
    """
    rows = rows.order_by(column, "id")
    while True:
        behind = rows
        if after is not None:
            moment, number = after
            behind = rows.filter(**{f"{column}__gte": moment}).filter(Q(**{f"{column}__gt": moment}) | Q(id__gt=number))
        batch = list(behind[:limit])
        if batch:
            yield batch
        if len(batch) < limit:
            return
        after = batch[-1][:2]


def _expire_runs(state: str, before: datetime, limit: int, alias: str) -> Iterator[int]:
    """Delete old runs, but not those whose results the body of a chord waits for."""
    runs = TaskRun.objects.using(alias).filter(state=state, finished_at__lt=before)
    rows = runs.values_list("finished_at", "id", "task_id", Exists(_awaiting()))
    for batch in _batches(rows, "finished_at", limit, None):
        old = [task_id for *_, task_id, awaited in batch if not awaited]
        for part in _parts(old, runs, "task_id", "arguments", "result"):
            yield _delete(part, [state], alias)


def _parts(keys: list[Key], rows: QuerySet[Any], column: str, *texts: str) -> Iterator[list[Key]]:
    """Yield the keys of rows in parts, each for one transaction; ``column`` has the keys.

    On SQLite a part has some megabytes of the ``texts`` at most, or one row: a text of 15 MiB takes some 40 ms there,
    in which nobody else can write.
    """
    engine, part, filled = for_alias(rows.db), list[Key](), 0
    if engine.skip_locked:
        yield from filter(None, [keys])
        return
    octets = sum((Coalesce(Octets(text), 0) for text in texts), start=Value(0))
    sizes: dict[Key, int] = dict(rows.filter(**{f"{column}__in": keys}).values_list(column, octets))
    for key in keys:
        size = sizes.get(key, 0)
        if part and filled + size > engine.batch_bytes:
            yield part
            part, filled = [], 0
        part.append(key)
        filled += size
    if part:
        yield part


def _expire_attempts(before: datetime, limit: int, alias: str, marks: Marks | None) -> Iterator[int]:
    yield from _expire_of_runs(Attempt, "finished_at", before, limit, alias, marks)


def _expire_reruns(before: datetime, limit: int, alias: str, marks: Marks | None) -> Iterator[int]:
    yield from _expire_of_runs(Rerun, "created_at", before, limit, alias, marks)


def _expire_of_runs(
    model: type[Attempt | Rerun], column: str, before: datetime, limit: int, alias: str, marks: Marks | None
) -> Iterator[int]:
    """Delete old rows that belong to runs. ``marks`` are given if some runs are kept for ever.

    Then rows stay as long as their runs, and the marks keep the next pass from looking at them again.
    """
    table, all_rows = model._meta.db_table, model._base_manager.using(alias)
    has_run = Exists(TaskRun.objects.filter(task_id=OuterRef("task_id")))
    rows = all_rows.filter(**{f"{column}__lt": before}).values_list(column, "id", has_run)
    for batch in _batches(rows, column, limit, None if marks is None else marks.get(table)):
        old = [number for _, number, kept in batch if marks is None or not kept]
        yield all_rows.filter(id__in=old)._raw_delete(alias) if old else 0
        if marks is not None:
            marks[table] = batch[-1][:2]


def _delete_orphans(model: type[Failure | KeptMessage], limit: int, alias: str, marks: Marks) -> Iterator[int]:
    """Delete rows whose run is gone, for example because its task was sent again. Such rows have no age.

    A pass looks at some batches in the order of the keys. The next pass goes on behind them.
    """
    of_failure = model is Failure
    key, run = ("run_id", {"id": OuterRef("run_id")}) if of_failure else ("id", {"task_id": OuterRef("task_id")})
    mark = f"{model._meta.db_table} without runs"
    all_rows = model._base_manager.using(alias)
    rows = all_rows.order_by(key).values_list(key, Exists(TaskRun.objects.filter(**run)))
    now = _before(timedelta(0), alias)
    for _ in range(_ORPHAN_BATCHES):
        batch = list(rows.filter(**{f"{key}__gt": marks[mark][1] if mark in marks else -1})[:limit])
        gone = [number for number, kept in batch if not kept]
        if batch:
            yield all_rows.filter(**{f"{key}__in": gone})._raw_delete(alias) if gone else 0
        if len(batch) < limit:
            marks.pop(mark, None)
            return
        marks[mark] = now, batch[-1][0]


def _expire_nodes(before: datetime, limit: int, alias: str, marks: Marks | None) -> Iterator[int]:
    """Delete the nodes of old workflows. A workflow that still has messages or pending follow-ups counts as new.

    With ``marks`` a workflow stays as long as one of its runs.
    """
    rows = Node.objects.using(alias).filter(created_at__lt=before).values_list("created_at", "id", "root_id")
    ended: dict[str, bool] = {}
    for batch in _batches(rows, "created_at", limit, None if marks is None else marks.get("nodes")):
        roots = {root_id for *_, root_id in batch}
        ended = {root_id: ended[root_id] if root_id in ended else _has_ended(root_id, alias) for root_id in roots}
        living = [number for _, number, root_id in batch if not ended[root_id]]
        kept = _with_runs(roots, alias) if marks is not None else set()
        old = [number for _, number, root_id in batch if ended[root_id] and root_id not in kept]
        nodes = Node.objects.using(alias)
        nodes.filter(id__in=living).update(created_at=for_alias(alias).now_expression())
        yield nodes.filter(id__in=old)._raw_delete(alias) if old else 0
        if marks is not None:
            marks["nodes"] = batch[-1][:2]


def _has_ended(root_id: str, alias: str) -> bool:
    """Tell whether no task of a workflow waits or runs, and nothing is pending of it."""
    if _pending(root_id).using(alias).exists():
        return False
    nodes = Node.objects.using(alias).filter(root_id=root_id)
    # From the nodes to their messages, because other tasks may have millions. The task that sends or fails a large body
    # has the id of its group.
    looked = [(nodes, "task_id"), (nodes.exclude(group_id=""), "group_id")]
    return not any(
        some.filter(Exists(model.objects.filter(task_id=OuterRef(field)))).exists()
        for some, field in looked
        for model in (Message, ScheduledMessage)
    )


def _with_runs(roots: Collection[str], alias: str) -> set[str]:
    runs = TaskRun.objects.filter(task_id=OuterRef("task_id"))
    nodes = Node.objects.using(alias).filter(Exists(runs), root_id__in=roots)
    return set(nodes.values_list("root_id", flat=True))


def _expire_groups(before: datetime, limit: int, alias: str) -> Iterator[int]:
    """Delete old groups whose members have no nodes any more.

    Rows of size 0, such as rests, parts and saved groups, count no members: they are deleted when their workflow has no
    nodes any more. While follow-ups of a workflow are pending, all of its rows stay: parts refer to each other, and
    have nodes that are written later. Those of large results belong to no workflow (``_expire_results``).
    """
    first, behind = large_results.RANGE
    groups = Group.objects.using(alias).exclude(group_id__gte=first, group_id__lt=behind)
    has_members = Exists(Node.objects.filter(group_id=OuterRef("group_id")))
    has_workflow = Exists(Node.objects.filter(root_id=OuterRef("root_id")))
    is_pending = Exists(_pending(OuterRef("root_id")))
    fields = ("created_at", "id", "size", has_members, has_workflow, is_pending)
    rows = groups.filter(created_at__lt=before).values_list(*fields)
    for batch in _batches(rows, "created_at", limit, None):
        old = [
            number
            for _, number, size, members, workflow, pending in batch
            if not (pending or (members if size else workflow))
        ]
        if not old:
            yield 0
        for part in _parts(old, groups, "id", "body"):
            yield groups.filter(id__in=part)._raw_delete(alias)


def _expire_results(before: datetime, limit: int, alias: str) -> Iterator[int]:
    """Delete the rows of large results whose tasks were never settled: their processes or workers died."""
    first, behind = large_results.RANGE
    rows = Group.objects.using(alias).filter(group_id__gte=first, group_id__lt=behind, created_at__lt=before)
    while old := list(rows.order_by("group_id").values_list("group_id", flat=True)[:limit]):
        for part in _parts(old, rows, "group_id", "body"):
            yield rows.filter(group_id__in=part)._raw_delete(alias)


def _expire_events(
    model: type[TaskEvent] | type[TaskLog], before: datetime, limit: int, alias: str, marks: Marks | None
) -> Iterator[int]:
    """Delete old events, or kept logs, as ``_expire_of_runs`` does. The order of their ids is that of their ages."""
    events: QuerySet[Any] = model.objects.using(alias)
    has_run = Exists(TaskRun.objects.filter(task_id=OuterRef("task_id")))
    rows = events.order_by("id").values_list("at", "id", has_run)
    mark = model._meta.db_table
    last = 0 if marks is None or mark not in marks else marks[mark][1]
    while batch := list(takewhile(lambda row: row[0] < before, rows.filter(id__gt=last)[:limit])):
        old = [number for _, number, kept in batch if marks is None or not kept]
        yield events.filter(id__in=old)._raw_delete(alias) if old else 0
        last = batch[-1][1]
        if marks is not None:
            marks[mark] = batch[-1][:2]
        if len(batch) < limit:
            return


def _expire_revocations(before: datetime, limit: int, alias: str) -> Iterator[int]:
    rows = Revocation.objects.using(alias).filter(created_at__lt=before)
    # By their age too: one that was renewed meanwhile stays.
    while old := list(rows.order_by("created_at").values_list("revoked_id", flat=True)[:limit]):
        yield rows.filter(revoked_id__in=old)._raw_delete(alias)
