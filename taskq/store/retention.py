"""Retention: the rows of ended tasks are deleted, on request or by age, a small batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.db.models import Exists, OuterRef, QuerySet

from taskq import states
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Attempt, Group, Message, Node, ScheduledMessage, TaskRun

#: How many rows one transaction deletes.
BATCH = 500


def forget(task_ids: Sequence[str], alias: str | None = None) -> int:
    """Delete the TaskRuns and Attempts of ended tasks; return how many tasks they were.

    Tasks that have not ended keep their rows. The result of a member of a chord whose body is still to come is
    deleted when the body gets it.
    """
    alias = alias or settings.DATABASE
    return _delete(task_ids, (*states.READY_STATES,), alias)


def _delete(task_ids: Sequence[str], ended: Sequence[str], alias: str) -> int:
    with for_alias(alias).atomic():
        members = Node.objects.using(alias).filter(task_id__in=task_ids).exclude(group_id="")
        awaited = set(members.filter(Exists(_awaiting())).values_list("task_id", flat=True))
        if awaited:
            Node.objects.using(alias).filter(task_id__in=awaited).update(ignored=True)
        runs = TaskRun.objects.using(alias).filter(task_id__in=set(task_ids) - awaited, state__in=ended)
        gone = list(runs.values_list("task_id", flat=True))
        Attempt.objects.using(alias).filter(task_id__in=gone).delete()
        return len(awaited) + runs.filter(task_id__in=gone).delete()[0]


def _awaiting() -> QuerySet[Group]:
    """Return the group of a node or run, as a subquery, if a body still waits for its members."""
    unfinished = Group.objects.filter(remaining__gt=0, failed=False, body__isnull=False)
    return unfinished.filter(group_id=OuterRef("group_id"))


def expire(state: str, age: timedelta, limit: int = BATCH, alias: str | None = None) -> int:
    """Delete up to ``limit`` TaskRuns that ended in ``state`` more than ``age`` ago; return how many.

    Reads the oldest rows of the index of states only, so that it costs the same however large
    the table is. Results that the body of a chord waits for stay.
    """
    alias = alias or settings.DATABASE
    before = _before(age, alias)
    runs = TaskRun.objects.using(alias).filter(state=state).exclude(Exists(_awaiting())).order_by("id")
    rows = runs.values_list("task_id", "finished_at")
    old = [task_id for task_id, finished in rows[:limit] if finished is not None and finished < before]
    return _delete(old, [state], alias) if old else 0


def expire_workflows(age: timedelta, limit: int = BATCH, alias: str | None = None) -> int:
    """Delete the nodes and groups of workflows older than ``age`` that have no message left; return how many nodes."""
    alias = alias or settings.DATABASE
    before = _before(age, alias)
    rows = Node.objects.using(alias).order_by("id").values_list("root_id", "created_at")
    roots = {root_id for root_id, created in rows[:limit] if created < before}
    saved = Group.objects.using(alias).filter(size=0).order_by("id").values_list("id", "created_at")
    Group.objects.using(alias).filter(id__in=[i for i, created in saved[:limit] if created < before]).delete()
    return sum(_expire_workflow(root_id, alias) for root_id in sorted(roots))


def _expire_workflow(root_id: str, alias: str) -> int:
    with for_alias(alias).atomic():
        nodes = Node.objects.using(alias).filter(root_id=root_id)
        # From the nodes to their messages, because other tasks may have millions.
        same = {"task_id": OuterRef("task_id")}
        if any(nodes.filter(Exists(model.objects.filter(**same))).exists() for model in (Message, ScheduledMessage)):
            # A task of it still waits or runs: the workflow counts as new.
            nodes.update(created_at=for_alias(alias).present())
            return 0
        groups = set(nodes.exclude(group_id="").values_list("group_id", flat=True))
        Group.objects.using(alias).filter(group_id__in=groups).delete()
        return nodes.delete()[0]


def _before(age: timedelta, alias: str) -> datetime:
    return datetime.fromtimestamp(for_alias(alias).now(), UTC) - age


def expire_attempts(age: timedelta, limit: int = BATCH, alias: str | None = None) -> int:
    """Delete up to ``limit`` attempts that ended more than ``age`` ago; return how many."""
    alias = alias or settings.DATABASE
    before = _before(age, alias)
    rows = Attempt.objects.using(alias).order_by("id").values_list("id", "finished_at")
    old = [attempt_id for attempt_id, finished in rows[:limit] if finished is not None and finished < before]
    return Attempt.objects.using(alias).filter(id__in=old).delete()[0] if old else 0


def ages() -> dict[str, timedelta | None]:
    """Return how long the rows of each final state are kept; ``None`` is for ever.

    ``STARTED`` is among them: a task that raises ``Ignore`` ends, and keeps the state that it had.
    """
    kept, failures = settings.RESULT_EXPIRES, settings.RESULT_FAILURE_EXPIRES
    return {states.SUCCESS: kept, states.REVOKED: kept, states.STARTED: kept, states.FAILURE: failures}
