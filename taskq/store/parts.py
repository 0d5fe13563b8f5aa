"""Parts: works off the follow-ups that were too large for one transaction. See ``workflows.parts``.

Called by a duty of workers. Each call is one transaction, which moves the pending row on: whoever dies loses nothing,
and another worker goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.models import Group
from taskq.workflows import advance
from taskq.workflows.parts import PENDING_RANGE, VALUES_RANGE, Pending

from . import failures, log_lines
from .sealed_workflows import open_body
from .settle import database_refusal, wake_waiters
from .transactions import repeated
from .workflow_rows import DatabaseWorkflows

#: Works off the next part, and returns the ids of the tasks that ended.
Step = Callable[[DatabaseWorkflows, Pending], list[str]]

#: How many pending rows one look finds.
_MOST = 100


def pending_rows(alias: str | None = None) -> list[str]:
    """Return the ids of pending rows, oldest names first; not all of them if there are many."""
    found: list[str] = []
    for first, behind in (PENDING_RANGE, VALUES_RANGE):
        rows = Group.objects.using(alias or settings.DATABASE).filter(group_id__gte=first, group_id__lt=behind)
        found += rows.order_by("group_id").values_list("group_id", flat=True)[: _MOST - len(found)]
    return found


def work_off(row_id: str, alias: str | None = None) -> None:
    """Work off one part of a pending row; what is left is told by ``log_lines.parts_left``.

    Nothing happens if the row is gone, or another worker has it. Of a part that the database refuses the messages are
    sent one by one, and the task of one that can't be written fails. A part that can't be read, or neither sent nor
    failed, is logged, and ends the work.
    """
    engine = for_alias(alias or settings.DATABASE)
    try:
        _transaction(engine, row_id, advance.work_off)
    except Exception as error:
        if engine.may_pass(error):
            raise
        _work_off_refused(engine, row_id, error)


def _work_off_refused(engine: Engine, row_id: str, refused: Exception) -> None:
    try:
        _transaction(engine, row_id, partial(advance.work_off_singly, error=database_refusal(refused)))
    except Exception as error:
        if engine.may_pass(error):
            raise
        log_lines.part_refused(row_id)
        rows = Group.objects.using(engine.alias).filter(group_id=row_id)
        repeated(engine, lambda: rows._raw_delete(engine.alias))


def _transaction(engine: Engine, row_id: str, step: Step) -> None:
    repeated(engine, partial(_work_off, engine, row_id, step), locked=False)


def _work_off(engine: Engine, row_id: str, step: Step) -> None:
    with engine.atomic():
        rows = Group.objects.using(engine.alias).filter(group_id=row_id)
        locked = rows.select_for_update(skip_locked=engine.skip_locked)
        found = list(locked.values_list("body", "group_id", "size", "root_id", "parent_id"))
        if not found:
            return
        body, group_id, size, root_id, parent_id = found[0]
        pending = Pending.read(open_body(body or "", group_id, size, root_id, parent_id))
        rows._raw_delete(engine.alias)
        workflows = DatabaseWorkflows(engine)
        if pending.after is not None:
            workflows.drop_next_values(pending, pending.after)
            return
        ended = step(workflows, pending)
        failures.note(engine, workflows.failed)
        wake_waiters(engine, ended)
