"""Parts: works off the follow-ups that were too large for one transaction. See ``workflows.parts``.

Called by a duty of workers. Each call is one transaction, which moves the pending row on: whoever dies loses nothing,
and another worker goes on.
"""

from __future__ import annotations

from functools import partial

from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.models import Group
from taskq.workflows.advance import go_on
from taskq.workflows.parts import PENDING_RANGE, Pending

from . import failures, log_lines
from .sealed_workflows import open_body
from .settle import wake_waiters
from .transactions import repeated
from .workflow_rows import DatabaseWorkflows

#: How many pending rows one look finds.
_MOST = 100


def pending_rows(alias: str | None = None) -> list[str]:
    """Return the ids of pending rows, oldest names first; not all of them if there are many."""
    first, behind = PENDING_RANGE
    rows = Group.objects.using(alias or settings.DATABASE).filter(group_id__gte=first, group_id__lt=behind)
    return list(rows.order_by("group_id").values_list("group_id", flat=True)[:_MOST])


def work_off(row_id: str, alias: str | None = None) -> None:
    """Work off one part of a pending row; what is left is told by ``log_lines.parts_left``.

    Nothing happens if the row is gone, or another worker has it. A part that can't be read or written is logged, and
    ends the work.
    """
    engine = for_alias(alias or settings.DATABASE)
    try:
        repeated(engine, partial(_work_off, engine, row_id), locked=False)
    except Exception as error:
        if engine.may_pass(error):
            raise
        log_lines.part_refused(row_id)
        rows = Group.objects.using(engine.alias).filter(group_id=row_id)
        repeated(engine, lambda: rows._raw_delete(engine.alias))


def _work_off(engine: Engine, row_id: str) -> None:
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
        ended = go_on(workflows, pending)
        failures.note(engine, workflows.failed)
        wake_waiters(engine, ended)
