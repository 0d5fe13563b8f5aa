"""Retrying and revoking whole workflows: functions of ``taskq.control``. They act on rows, worker or not."""

from __future__ import annotations

from taskq.conf import settings
from taskq.models import Node
from taskq.store.retry_workflow import failed_in

from .caller import revoke
from .retrying import Counts, retry_many
from .revoking import named


def retry_workflow(task_id: str, *, by: str = "", reason: str = "") -> Counts:
    """Run all failed tasks of a workflow again, in place: what failed with them waits for them, and then goes on.

    ``task_id`` is its first task, or any other of it. Tasks that have succeeded do not run again. Errbacks that ran
    have run. A task whose message was not kept, because it has sensitive arguments, is left as it is.

    >>> retry_workflow("0190c5a6-7d1e-7c3e-8f5b-2f8a5e0d3b1c").done  # doctest: +SKIP
    3
    """
    return retry_many(failed_in(_root_of(task_id)), by=by, reason=reason)


def revoke_workflow(task_id: str, *, terminate: bool = False) -> int:
    """Revoke all tasks of a workflow that have not ended; return how many were revoked, or asked for.

    ``task_id`` is its first task, or any other of it. Running tasks go on to their end, unless ``terminate`` is true.
    """
    nodes = Node.objects.using(settings.DATABASE).filter(root_id=_root_of(task_id))
    task_ids = list(nodes.order_by("id").values_list("task_id", flat=True))
    counted: list[int] = []
    if task_ids:
        revoke(task_ids, terminate=terminate, on_written=counted.append)
    return sum(counted)


def _root_of(task_id: str) -> str:
    """Return the root by which the nodes of a workflow are found. Members of a group may have others."""
    nodes = Node.objects.using(settings.DATABASE).filter(task_id=named("task_id", task_id))
    return nodes.values_list("root_id", flat=True).first() or task_id
