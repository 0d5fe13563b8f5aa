"""Reads the rows of tasks from ``TASKQ_DATABASE``, only the columns that are needed.

Called by ``backend``, ``waiting``, ``callbacks`` and ``listener``; never writes and never waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from sys import intern
from typing import TYPE_CHECKING

from django.db import connections

from taskq import states
from taskq.conf import settings
from taskq.exceptions import SignatureMismatch
from taskq.messages import values
from taskq.messages.protocol.options import is_storable

if TYPE_CHECKING:
    from taskq.models import TaskRun

#: The columns that a result reads. A task's arguments may be large and are left out.
COLUMNS = (
    "task_id",
    "name",
    "state",
    "queue",
    "result",
    "content_type",
    "traceback",
    "retries",
    "worker",
    "children",
    "finished_at",
)
#: Columns whose values repeat. The rows of a large group share them, and take half of the memory.
_REPEATING = ("name", "state", "queue", "content_type", "worker")
#: Ids in one statement, if the database sets no lower limit.
_CHUNK = 2000


def fetch(ids: Collection[str], columns: Collection[str] = COLUMNS) -> dict[str, TaskRun]:
    """Return the rows of ``ids`` by task id, without ids that have no row.

    A task that was revoked before it was sent has a row that says so, though it is not stored.
    """
    found = _fetch(ids, columns)
    waiting = [task_id for task_id in ids if task_id not in found or found[task_id].state == states.PENDING]
    return found | _revoked_early(waiting)


def _revoked_early(ids: Collection[str]) -> dict[str, TaskRun]:
    """Return new rows for tasks that were revoked before they were sent, and that no worker has refused yet."""
    from taskq.models import Revocation, TaskRun

    if not ids:
        return {}
    wanted = [task_id for task_id in ids if is_storable(task_id)]
    step = _step(settings.DATABASE)
    revoked = Revocation.objects.using(settings.DATABASE)
    return {
        task_id: TaskRun(task_id=task_id, state=states.REVOKED)
        for start in range(0, len(wanted), step)
        for task_id in revoked.filter(revoked_id__in=wanted[start : start + step]).values_list("revoked_id", flat=True)
    }


def read_final_or_revoked(ids: Collection[str]) -> dict[str, TaskRun]:
    """Return the rows of ``read_final``, and new rows for tasks that were revoked before they were sent."""
    found = read_final(ids)
    return found | _revoked_early([task_id for task_id in ids if task_id not in found])


def read_final(ids: Iterable[str]) -> dict[str, TaskRun]:
    """Return the rows of ``ids`` whose state is final, by task id."""
    return _fetch(ids, COLUMNS, state__in=tuple(states.READY_STATES))


def _fetch(ids: Iterable[str], columns: Collection[str], **conditions: object) -> dict[str, TaskRun]:
    # Tasks are defined, and sent, before Django has loaded the models.
    from taskq.models import TaskRun

    # An id that can't be stored has no row, and a database would refuse the whole query because of it.
    wanted = [task_id for task_id in ids if is_storable(task_id)]
    rows = TaskRun.objects.using(settings.DATABASE).filter(**conditions)
    if columns:
        rows = rows.only("task_id", *columns)
    step = _CHUNK if len(wanted) <= 500 else _step(settings.DATABASE)
    found = {
        row.task_id: _with_shared_texts(row)
        for start in range(0, len(wanted), step)
        for row in rows.filter(task_id__in=wanted[start : start + step])
    }
    if settings.SIGNING and "result" in columns:
        for row in found.values():
            _verify(row)
    return found


def _with_shared_texts(row: TaskRun) -> TaskRun:
    read = vars(row)  # has only the columns that were read
    for column in _REPEATING:
        if type(text := read.get(column)) is str:
            read[column] = intern(text)
    return row


def _verify(row: TaskRun) -> None:
    """Give a value with a wrong seal the content type ``ALTERED``: decoding it raises ``SignatureMismatch``."""
    from taskq.store.sealed_values import opened_type

    try:
        row.content_type = opened_type(row.content_type, row.result, row.task_id, row.state)
    except SignatureMismatch:
        row.content_type = values.ALTERED


def _step(alias: str) -> int:
    """Return the number of ids for one statement: some builds of SQLite allow only 999 parameters."""
    most = connections[alias].features.max_query_params
    return min(_CHUNK, most - len(states.READY_STATES)) if most else _CHUNK
