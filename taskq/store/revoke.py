"""Revoke: a task that waits becomes ``REVOKED`` at once; the holder of one that is claimed is asked.

In a workflow the rest goes with it: what comes after a revoked task, and with the
last of a chain, a chord or a group, all of it that has not run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial

from django.db.models import Model

from taskq import states
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.models import Message, Node, ScheduledMessage, TaskRun
from taskq.records import Settlement
from taskq.workflows.advance import REVOKED_RESULT
from taskq.workflows.cascade import NodePosition, cascade
from taskq.workflows.followups import complete

from .settle import repeated, write_ends

#: The channel on which workers hear that something they hold was revoked.
MESSAGE_CHANNEL = "taskq_message"
#: The name that stands for "look what was revoked" among the names of queues.
REVOKED_NAME = "\x1frevoked"
_BATCH = 500
#: Messages by table and id, and who holds each.
Found = dict[tuple[type[Model], int], str]


def revoke(task_ids: Sequence[str], terminate: str = "", alias: str | None = None) -> int:
    """Revoke tasks for good, whether a worker runs or not; return how many were revoked or asked for.

    What waits or is scheduled is deleted and reads ``REVOKED``. What a worker holds is
    flagged: it does not start, or, if it runs, goes on to its end unless ``terminate``
    names a signal (``"SIGTERM"``). What is final stays as it is. A group's id stands for
    all that is in it and after it.
    """
    engine = for_alias(alias or settings.DATABASE)
    reached, unsent = _cascade(engine.alias, set(task_ids))
    return sum(
        repeated(engine, partial(_revoke, engine, batch, unsent.intersection(batch), terminate))
        for batch in _batches(sorted(reached.union(task_ids)))
    )


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))


def _cascade(alias: str, wanted: set[str]) -> tuple[set[str], set[str]]:
    """Return what else of their workflows is revoked with ``wanted``, and what of all this was never sent."""
    nodes = Node.objects.using(alias)
    roots: set[str] = set()
    for batch in _batches(sorted(wanted)):
        roots |= {*nodes.filter(task_id__in=batch).values_list("root_id", flat=True)}
        roots |= {*nodes.filter(group_id__in=batch).values_list("root_id", flat=True)}
    reached: set[str] = set()
    unsent: set[str] = set()
    for root_id in sorted(roots):
        rows = list(nodes.filter(root_id=root_id).values_list("task_id", "group_id", "waits_for", "kind", "state"))
        # Of an end that nobody wanted to know the node alone tells.
        sent = {row[0] for row in rows if row[4]} | _sent(alias, [row[0] for row in rows])
        found = cascade([NodePosition(*row[:4]) for row in rows], wanted, sent)
        reached |= found
        unsent |= found - sent
    return reached, unsent


def _sent(alias: str, task_ids: Sequence[str]) -> set[str]:
    """Return which tasks have ended, or are under way.

    The row of one that has not ended says nothing: the task may have been replaced, and what takes its
    place under its id not be sent yet.
    """
    ended = TaskRun.objects.using(alias).filter(state__in=states.READY_STATES)
    return {
        task_id
        for batch in _batches(task_ids)
        for rows in (ended, Message.objects.using(alias), ScheduledMessage.objects.using(alias))
        for task_id in rows.filter(task_id__in=batch).values_list("task_id", flat=True)
    }


def _revoke(engine: Engine, task_ids: Sequence[str], unsent: set[str], terminate: str) -> int:
    alias = engine.alias
    with engine.atomic():
        found = _lock(alias, task_ids)
        if unsent:
            # Whoever sends one of them now sees this mark, or was quicker: then its message is seen here.
            Node.objects.using(alias).filter(task_id__in=sorted(unsent)).update(revoked=True)
        # So is what was promoted, or sent anew by a retry, while we waited for its lock: another row now.
        found |= _lock(alias, task_ids)
        claimed = [number for (model, number), token in found.items() if token]
        waiting: list[Message | ScheduledMessage] = []
        for model in (Message, ScheduledMessage):
            ids = [number for (kind, number), token in found.items() if kind is model and not token]
            rows = model._base_manager.using(alias).filter(id__in=ids)
            waiting += rows
            rows.delete()
        write_revoked(engine, waiting, unsent)
        if claimed:
            Message.objects.using(alias).filter(id__in=claimed).update(revoked=terminate or "revoke")
            if settings.NOTIFY:
                engine.notify(MESSAGE_CHANNEL, REVOKED_NAME)
    return len(found)


def _lock(alias: str, task_ids: Sequence[str]) -> Found:
    """Lock the messages of tasks in the order in which settling does; return who holds each."""
    messages = Message.objects.using(alias).select_for_update().filter(task_id__in=task_ids).order_by("id")
    scheduled = ScheduledMessage.objects.using(alias).select_for_update().filter(task_id__in=task_ids).order_by("id")
    found: dict[tuple[type[Model], int], str] = {
        (Message, i): token for i, token in messages.values_list("id", "token")
    }
    return found | {(ScheduledMessage, i): "" for i in scheduled.values_list("id", flat=True)}


def write_revoked(
    engine: Engine,
    messages: Sequence[Message | ScheduledMessage],
    unsent: Collection[str] = frozenset(),
    *,
    untracked: bool = True,
) -> None:
    """Write the ends of tasks whose ``messages`` were deleted, and of those that were never sent.

    ``untracked`` tells whether one gets a row of which there is none, and for which nothing waits.
    """
    known = {message.task_id: message for message in messages}
    if not known and not unsent:
        return
    runs = TaskRun.objects.using(engine.alias).filter(task_id__in=known)
    tracked = set(runs.values_list("task_id", flat=True))
    now = engine.now()
    ends = [
        complete(_revoked(task_id, m.name, m.queue, m.id, now, task_id in tracked), m) for task_id, m in known.items()
    ]
    if not untracked:
        ends = [end for end in ends if end.tracked or end.linked]
    nodes = Node.objects.using(engine.alias).filter(task_id__in=set(unsent).difference(known))
    for task_id, name, group_id in nodes.values_list("task_id", "name", "group_id"):
        ends.append(replace(_revoked(task_id, name, "", 0, now, False), group_id=group_id, member=bool(group_id)))
    write_ends(engine, sorted(ends, key=lambda s: s.task_id))


def _revoked(task_id: str, name: str, queue: str, message_id: int, now: float, tracked: bool) -> Settlement:
    return Settlement(
        message_id=message_id,
        task_id=task_id,
        state=states.REVOKED,
        name=name,
        queue=queue,
        result=REVOKED_RESULT,
        finished=now,
        tracked=tracked,
    )
