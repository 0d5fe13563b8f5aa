"""Reads the rows of tasks from ``TASKQ_DATABASE``, only the columns that are needed.

Called by ``backend``, ``waiting``, ``callbacks`` and ``listener``; never writes and never waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from django.db import connections

from taskq import states
from taskq.conf import settings
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
#: Ids in one statement, if the database sets no lower limit.
_CHUNK = 2000


def fetch(ids: Iterable[str], columns: Collection[str] = COLUMNS) -> dict[str, TaskRun]:
    """Return the rows of ``ids`` by task id, without ids that have no row."""
    return _fetch(ids, columns)


def finished(ids: Iterable[str], columns: Collection[str] = COLUMNS) -> dict[str, TaskRun]:
    """Return the rows of ``ids`` whose state is final, by task id."""
    return _fetch(ids, columns, state__in=tuple(states.READY_STATES))


def _fetch(ids: Iterable[str], columns: Collection[str], **conditions: object) -> dict[str, TaskRun]:
    # Tasks are defined, and sent, before Django has loaded the models.
    from taskq.models import TaskRun

    # An id that can't be stored has no row, and a database would refuse the whole query because of it.
    wanted = [task_id for task_id in ids if is_storable(task_id)]
    rows = TaskRun.objects.using(settings.DATABASE).filter(**conditions)
    if columns:
        rows = rows.only("task_id", *columns)
    step = _CHUNK if len(wanted) <= 500 else _step(settings.DATABASE)
    return {
        row.task_id: row
        for start in range(0, len(wanted), step)
        for row in rows.filter(task_id__in=wanted[start : start + step])
    }


def _step(alias: str) -> int:
    """Return the number of ids for one statement: some builds of SQLite allow only 999 parameters."""
    most = connections[alias].features.max_query_params
    return min(_CHUNK, most - len(states.READY_STATES)) if most else _CHUNK
