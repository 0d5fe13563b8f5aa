"""Reads the rows of tasks, on ``TASKQ_DATABASE``, with only the columns that are needed.

Called by ``backend`` and ``waiting``; never writes and never waits.
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

#: What a result is read with. A task's arguments may be large and are left out.
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
#: Ids in one statement, where the database sets no limit of its own.
_CHUNK = 2000


def fetch(ids: Iterable[str], columns: Collection[str] = COLUMNS) -> dict[str, TaskRun]:
    """Return the rows of ``ids`` by task id; an id without a row is left out."""
    return _fetch(ids, columns)


def finished(ids: Iterable[str], columns: Collection[str] = COLUMNS) -> dict[str, TaskRun]:
    """Return the rows of those of ``ids`` whose state is final."""
    return _fetch(ids, columns, state__in=tuple(states.READY_STATES))


def _fetch(ids: Iterable[str], columns: Collection[str], **conditions: object) -> dict[str, TaskRun]:
    # Tasks are defined, and sent, before Django has loaded the models.
    from taskq.models import TaskRun

    # No row has another id, and for one that can't be written a database refuses the question as a whole.
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
    """Return how many ids one statement takes: SQLite may be built with room for only 999 parameters."""
    most = connections[alias].features.max_query_params
    return min(_CHUNK, most - len(states.READY_STATES)) if most else _CHUNK
