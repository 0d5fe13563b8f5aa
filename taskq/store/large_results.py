"""Large results: the process that ran the task writes the text into a row, and the settlement moves it into the run.

A worker's main process would have to hold the text, and no other task would be settled or claimed while the database
takes it in. The row is a ``Group`` of size 0, which nothing counts, under a new key for each run of a task: two
deliveries of one task never meet. A row whose run is never settled is deleted by retention after a day.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from functools import partial

from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.models import Group
from taskq.records import Settlement

from .transactions import has_begun, repeated

_KEY = "result:"
#: The range of the keys.
RANGE = (_KEY, "result;")


def write_ahead(text: str, task_id: str, alias: str | None = None) -> str:
    """Write the result of a task into a row of its own, and return its key.

    Inside a transaction nothing is written, and the key is empty.
    """
    engine = for_alias(alias or settings.DATABASE)
    if has_begun(engine):
        return ""
    key = f"{_KEY}{secrets.token_hex(16)}"
    # The row belongs to no workflow, which might keep it. On SQLite a trigger asks for the task.
    repeated(engine, partial(engine.insert_groups, [(key, 0, 0, False, text, "", task_id)]))
    return key


def move(engine: Engine, settlements: Sequence[Settlement]) -> None:
    """Move the texts of first ends into their runs, in the caller's transaction.

    Raises ``ValueError`` if a row is gone: the task then fails.
    """
    for s in settlements:
        if s.moves_result and not engine.move_result(s.result_row, s.task_id):
            raise ValueError(f"The stored result of {s.task_id} is gone: the row {s.result_row} was deleted.")


def drop(engine: Engine, settlements: Iterable[Settlement]) -> None:
    """Delete the rows of results that are settled, or never will be, in the caller's transaction."""
    if keys := sorted(s.result_row for s in settlements if s.result_row):
        Group.objects.using(engine.alias).filter(group_id__in=keys)._raw_delete(engine.alias)
