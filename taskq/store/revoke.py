"""Revoke: a task that waits becomes ``REVOKED`` at once; the holder of one that is claimed is asked."""

from __future__ import annotations

from collections.abc import Sequence

from taskq import states
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.models import Message, ScheduledMessage, TaskRun

from .records import Settlement
from .settle import REVOKED_RESULT, write_ends

#: The channel on which workers hear that something they hold was revoked.
MESSAGE_CHANNEL = "taskq_message"
#: The name that stands for "look what was revoked" among the names of queues.
REVOKED_NAME = "\x1frevoked"
_BATCH = 500


def revoke(task_ids: Sequence[str], terminate: str = "", alias: str | None = None) -> int:
    """Revoke tasks for good, whether a worker runs or not; return how many were revoked or asked for.

    What waits or is scheduled is deleted and reads ``REVOKED``. What a worker holds is
    flagged: it does not start, or, if it runs, goes on to its end unless ``terminate``
    names a signal (``"SIGTERM"``). What is final stays as it is.
    """
    engine = for_alias(alias or settings.DATABASE)
    ids = sorted(set(task_ids))
    return sum(_revoke(engine, ids[i : i + _BATCH], terminate) for i in range(0, len(ids), _BATCH))


def _revoke(engine: Engine, task_ids: Sequence[str], terminate: str) -> int:
    alias = engine.alias
    with engine.atomic():
        rows = _locked_messages(alias, task_ids)
        scheduled = list(
            ScheduledMessage.objects.using(alias)
            .select_for_update()
            .filter(task_id__in=task_ids)
            .order_by("id")
            .values_list("id", "task_id", "name", "queue")
        )
        found = {row[1] for row in [*rows, *scheduled]}
        # What was promoted, or sent anew by a retry, while we waited for its lock is another row now.
        rows += _locked_messages(alias, [task_id for task_id in task_ids if task_id not in found])
        waiting = [row[:4] for row in rows if not row[4]]
        claimed = [row[0] for row in rows if row[4]]
        Message.objects.using(alias).filter(id__in=[row[0] for row in waiting]).delete()
        ScheduledMessage.objects.using(alias).filter(id__in=[row[0] for row in scheduled]).delete()
        _write_revoked(engine, waiting + scheduled)
        if claimed:
            Message.objects.using(alias).filter(id__in=claimed).update(revoked=terminate or "revoke")
            if settings.NOTIFY:
                engine.notify(MESSAGE_CHANNEL, REVOKED_NAME)
    return len(rows) + len(scheduled)


def _locked_messages(alias: str, task_ids: Sequence[str]) -> list[tuple[int, str, str, str, str]]:
    messages = Message.objects.using(alias).select_for_update().filter(task_id__in=task_ids).order_by("id")
    return list(messages.values_list("id", "task_id", "name", "queue", "token"))


def _write_revoked(engine: Engine, rows: Sequence[tuple[int, str, str, str]]) -> None:
    known = {row[1]: row for row in rows}
    if not known:
        return
    runs = TaskRun.objects.using(engine.alias).filter(task_id__in=known)
    tracked = set(runs.values_list("task_id", flat=True))
    now = engine.now()
    write_ends(engine, [_revoked(row, now, tracked) for _, row in sorted(known.items())])


def _revoked(row: tuple[int, str, str, str], now: float, tracked: set[str]) -> Settlement:
    message_id, task_id, name, queue = row
    return Settlement(
        message_id=message_id,
        task_id=task_id,
        state=states.REVOKED,
        name=name,
        queue=queue,
        result=REVOKED_RESULT,
        finished=now,
        tracked=task_id in tracked,
    )
