"""Forget and retain: rows of finished tasks are deleted, by wish or by age, a small batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from taskq import states
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Attempt, Lease, TaskRun, Worker

#: How many rows one transaction deletes.
BATCH = 500


def forget(task_ids: Sequence[str], alias: str | None = None) -> int:
    """Delete what is known of tasks; return how many there were."""
    alias = alias or settings.DATABASE
    with for_alias(alias).atomic():
        Attempt.objects.using(alias).filter(task_id__in=task_ids).delete()
        return TaskRun.objects.using(alias).filter(task_id__in=task_ids).delete()[0]


def expire(state: str, age: timedelta, limit: int = BATCH, alias: str | None = None) -> int:
    """Delete up to ``limit`` rows that ended in ``state`` more than ``age`` ago; return how many.

    Goes through the index of states from the oldest row on and stops at the first
    that is young enough, so that it costs the same however large the table is.
    """
    alias = alias or settings.DATABASE
    before = datetime.fromtimestamp(for_alias(alias).now(), UTC) - age
    rows = TaskRun.objects.using(alias).filter(state=state).order_by("id").values_list("task_id", "finished_at")
    old = [task_id for task_id, finished in rows[:limit] if finished is not None and finished < before]
    return forget(old, alias) if old else 0


def expire_attempts(age: timedelta, limit: int = BATCH, alias: str | None = None) -> int:
    """Delete up to ``limit`` attempts that ended more than ``age`` ago; return how many."""
    alias = alias or settings.DATABASE
    before = datetime.fromtimestamp(for_alias(alias).now(), UTC) - age
    rows = Attempt.objects.using(alias).order_by("id").values_list("id", "finished_at")
    old = [attempt_id for attempt_id, finished in rows[:limit] if finished is not None and finished < before]
    return Attempt.objects.using(alias).filter(id__in=old).delete()[0] if old else 0


def take_lease(name: str, token: str, alias: str | None = None) -> bool:
    """Tell whether worker ``token`` has the duty ``name``: it takes it if its holder is gone."""
    alias = alias or settings.DATABASE
    with for_alias(alias).atomic():
        lease, _ = Lease.objects.using(alias).select_for_update().get_or_create(name=name)
        if lease.holder != token and not Worker.objects.using(alias).filter(token=lease.holder).exists():
            lease.holder = token
            lease.save(using=alias, update_fields=["holder"])
    return lease.holder == token


def ages() -> dict[str, timedelta | None]:
    """Return how long each final state is kept; ``None`` is for ever."""
    kept, failures = settings.RESULT_EXPIRES, settings.RESULT_FAILURE_EXPIRES
    return {states.SUCCESS: kept, states.REVOKED: kept, states.FAILURE: failures}
