"""Revocations: ids of tasks that were revoked before they were sent.

``keep`` is called by ``store.revoke``. The claim reads the rows itself: no worker has to hear of them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from taskq import states
from taskq.conf import database_broker_alias
from taskq.engines import Engine
from taskq.models import Message, Node, Revocation, ScheduledMessage, TaskRun


def unknown(alias: str, task_ids: Collection[str]) -> list[str]:
    """Return those of ``task_ids`` under which no task or group was sent, as far as this transaction sees."""
    left = set(task_ids)
    for model in (TaskRun, Message, ScheduledMessage):
        if left:
            rows: QuerySet[Any] = model._base_manager.using(alias).filter(task_id__in=left)
            if model is TaskRun and database_broker_alias() is None:
                # Its message is with another broker, where it can't be flagged.
                rows = rows.filter(state__in=states.READY_STATES)
            left.difference_update(rows.values_list("task_id", flat=True))
    if left:
        nodes = Node.objects.using(alias).filter(Q(task_id__in=left) | Q(group_id__in=left))
        for names in nodes.values_list("task_id", "group_id"):
            left.difference_update(names)
    return sorted(left)


def keep(engine: Engine, task_ids: Collection[str]) -> None:
    """Remember tasks that were not sent yet, from now on."""
    rows = Revocation.objects.using(engine.alias)
    with engine.atomic():
        rows.filter(revoked_id__in=task_ids).update(created_at=engine.now_expression())
        new = [Revocation(revoked_id=task_id, created_at=engine.now_expression()) for task_id in task_ids]
        rows.bulk_create(new, ignore_conflicts=True)


def among(engine: Engine, root_ids: Collection[str]) -> list[str]:
    """Return the tasks of these workflows that were revoked before they were sent."""
    nodes = Node.objects.filter(task_id=OuterRef("revoked_id"), root_id__in=root_ids)
    return list(Revocation.objects.using(engine.alias).filter(Exists(nodes)).values_list("revoked_id", flat=True))
