"""Retrying and revoking whole workflows: functions of ``taskq.control``. They act on rows, worker or not."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.conf import settings
from taskq.models import Node
from taskq.store.retry_workflow import failed_in
from taskq.store.revoke import revoke_part, whole_workflow

from .caller import tell
from .retrying import Counts, retry_many
from .revoking import named, signal_text


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
    return sum(revoke_workflow_part(ids, terminate=terminate) for ids in workflow_parts(task_id))


def workflow_parts(task_id: str, size: int = 500) -> list[list[str]]:
    """Return the ids of the tasks of a workflow in parts, for ``revoke_workflow_part``.

    >>> for ids in workflow_parts("0190c5a6-7d1e-7c3e-8f5b-2f8a5e0d3b1c"):  # doctest: +SKIP
    ...     print(revoke_workflow_part(ids))
    """
    ids = whole_workflow(_root_of(task_id), settings.DATABASE)
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def revoke_workflow_part(ids: Sequence[str], *, terminate: bool = False) -> int:
    """Revoke one of the ``workflow_parts``; return how many tasks were revoked, or asked for.

    The parts are taken in their order, so that the tasks that depend on others are revoked before them. What is left
    when only the first of them are taken may fail, because what was to come is gone.
    """
    counted = revoke_part(ids, signal_text(terminate, None), settings.DATABASE)
    tell("revoke", {"task_id": list(ids), "terminate": terminate, "signal": "SIGTERM"}, None, {})
    return counted


def _root_of(task_id: str) -> str:
    """Return the root by which the nodes of a workflow are found. Members of a group may have others."""
    nodes = Node.objects.using(settings.DATABASE).filter(task_id=named("task_id", task_id))
    return nodes.values_list("root_id", flat=True).first() or task_id
