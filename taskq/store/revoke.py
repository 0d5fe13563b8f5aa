"""Revoke: a waiting task becomes ``REVOKED`` at once; a flag on a claimed message asks its worker to revoke the task.

In a workflow the dependents of a revoked task are revoked with it. If it is the last task of a chain or chord, or a
group, all of its tasks that have not run are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

from django.db.models import Model, QuerySet

from taskq import states
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.engines.claim_columns import CLAIMED_SIZE
from taskq.engines.marks import MESSAGE_CHANNEL
from taskq.messages.parking import home
from taskq.messages.protocol.options import is_storable
from taskq.models import Group, Message, Node, ScheduledMessage, TaskRun
from taskq.models.fields import OrderedId
from taskq.records import Settlement
from taskq.workflows.advance import revoked
from taskq.workflows.cascade import NodePosition, cascade, dependents_first, whole_dependents_first
from taskq.workflows.followups import complete

from . import log_lines, revocations
from .authenticity import readable
from .sealed_workflows import iterate_places, read_places
from .settle import write_ends
from .texts import without_texts
from .transactions import after_commit, repeated

#: Among the names of queues in a notification: read the flags of held messages.
REVOKED_NAME = "\x1frevoked"
_BATCH = 500
#: Messages by table and id, each with the token of its worker.
Found = dict[tuple[type[Model], int], str]


def revoke(task_ids: Sequence[str], terminate: str = "", alias: str | None = None) -> int:
    """Revoke tasks for good, whether a worker runs or not; return how many were revoked or asked for.

    A message that waits or is scheduled is deleted, and its task becomes ``REVOKED``. A message that a worker holds is
    flagged: its task does not start. A running task goes on to its end, unless ``terminate`` names a signal
    (``"SIGTERM"``). Final states stay. A group's id stands for its members and their dependents. An id under which
    nothing was sent yet is remembered for ``TASKQ_REVOKES_EXPIRE``: its task is refused when a worker takes it.
    """
    engine = for_alias(alias or settings.DATABASE)
    # An id that can't be stored is no task's, and a database would refuse the statement because of it.
    ids = sorted({task_id for task_id in task_ids if task_id and is_storable(task_id)})
    asked = _revoke_sent(engine, ids, terminate)
    _remember(engine, ids, terminate)
    return asked


def _remember(engine: Engine, task_ids: Sequence[str], terminate: str) -> None:
    """Remember those of the ids under which nothing was sent yet."""
    for batch in _batches(task_ids):
        if unknown := revocations.unknown(engine.alias, batch):
            repeated(engine, partial(revocations.keep, engine, unknown))
            # A worker may have claimed a message that was sent meanwhile before it could see the new row. This finds
            # the message. Messages that are sent later are claimed later.
            after_commit(engine, partial(_revoke_sent, engine, unknown, terminate))


def whole_workflow(root_id: str, alias: str) -> list[str]:
    """Return the ids of all tasks of a workflow, in the order in which ``revoke_part`` takes them."""
    return whole_dependents_first(
        NodePosition(place.task_id, place.group_id, place.waits_for)
        for place in iterate_places(Node.objects.using(alias).filter(root_id=root_id))
    )


def revoke_part(task_ids: Sequence[str], terminate: str, alias: str) -> int:
    """Revoke tasks of a workflow that is revoked as a whole; return how many were revoked or asked for.

    This is ``revoke`` without the search for tasks that are revoked with these: the caller revokes all of the workflow,
    dependents first (``whole_workflow``).
    """
    engine, asked = for_alias(alias), 0
    for batch in _batches(task_ids):
        nodes = Node.objects.using(alias).filter(task_id__in=batch)
        # In this order: if a task without a TaskRun ends between the two reads, the second one finds its end.
        sent = _sent(alias, batch)
        unsent = set(batch) - sent - _ended(nodes)
        ids = [*batch, *_with_bodies(alias, nodes)]
        asked += repeated(engine, partial(_revoke, engine, ids, unsent, terminate))
    _remember(engine, task_ids, terminate)
    return asked


def _with_bodies(alias: str, members: QuerySet[Node]) -> set[str]:
    """Return the ids of the members' groups whose bodies wait: the task that sends a large body has such an id."""
    ids = set(members.exclude(group_id="").values_list("group_id", flat=True))
    return set(
        Group.objects.using(alias).filter(group_id__in=ids, body__isnull=False).values_list("group_id", flat=True)
    )


def revoke_remembered(engine: Engine, root_ids: Collection[str]) -> None:
    """Revoke the tasks of new workflows whose ids were revoked before, in the transaction that sends them."""
    if known := revocations.among(engine, root_ids):
        _revoke_sent(engine, known, "")


def _revoke_sent(engine: Engine, task_ids: Sequence[str], terminate: str) -> int:
    reached, unsent = _cascade(engine.alias, set(task_ids))
    return sum(
        repeated(engine, partial(_revoke, engine, batch, unsent.intersection(batch), terminate))
        for batch in _batches([*reached, *sorted(set(task_ids).difference(reached))])
    )


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))


def _cascade(alias: str, wanted: set[str]) -> tuple[list[str], set[str]]:
    """Return the ids that are revoked with ``wanted`` in their workflows, and those of them that were never sent.

    Dependents come first: a task that is revoked in a later transaction must not fail them.
    """
    nodes = Node.objects.using(alias)
    roots: set[str] = set()
    for batch in _batches(sorted(wanted)):
        roots |= {*nodes.filter(task_id__in=batch).values_list("root_id", flat=True)}
        roots |= {*nodes.filter(group_id__in=batch).values_list("root_id", flat=True)}
    reached: list[str] = []
    unsent: set[str] = set()
    for root_id in sorted(roots):
        rows = nodes.filter(root_id=root_id)
        positions = [NodePosition(p.task_id, p.group_id, p.waits_for, p.kind) for p in read_places(rows)]
        # In this order: see ``revoke_part``.
        sent = _sent(alias, [position.task_id for position in positions])
        sent |= _ended(rows)
        found = cascade(positions, wanted, sent)
        reached += dependents_first(positions, found)
        unsent |= found - sent
    return reached, unsent


def _ended(nodes: QuerySet[Node]) -> set[str]:
    """Return the tasks that ended with an ignored result: they keep no TaskRun, ``Node.state`` is the only record."""
    return set(nodes.exclude(state="").values_list("task_id", flat=True))


def _sent(alias: str, task_ids: Sequence[str]) -> set[str]:
    """Return the ids of tasks that have ended, or whose messages exist.

    A TaskRun that is not final does not prove that a message exists: a replaced task keeps its id, and its
    replacement may not have been sent.
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
            # A transaction that sends one of these tasks later sees this mark. If it was quicker, its message is found
            # below.
            Node.objects.using(alias).filter(task_id__in=sorted(unsent)).update(revoked=True)
        # Once more, for messages that were sent, promoted or retried during the wait for locks: they are new rows.
        found |= _lock(alias, task_ids)
        claimed = [number for (model, number), token in found.items() if token]
        waiting: list[Message | ScheduledMessage] = []
        for model in (Message, ScheduledMessage):
            ids = [number for (kind, number), token in found.items() if kind is model and not token]
            rows: QuerySet[Any] = model._base_manager.using(alias).filter(id__in=ids)
            # Large messages are not read: their dependents are looked up in the rows.
            waiting += map(readable, without_texts(rows, CLAIMED_SIZE))
            rows.delete()
        write_revoked(engine, waiting, unsent)
        if claimed:
            Message.objects.using(alias).filter(id__in=claimed).update(revoked=terminate or "revoke")
            engine.notify(MESSAGE_CHANNEL, [REVOKED_NAME])
    return len(found)


def _lock(alias: str, task_ids: Sequence[str]) -> Found:
    """Lock the messages of tasks in the same order as settling; return them with their workers' tokens."""
    messages = Message.objects.using(alias).filter(task_id__in=task_ids)
    scheduled = ScheduledMessage.objects.using(alias).filter(task_id__in=task_ids)
    locked = messages.select_for_update().order_by(OrderedId())
    due_later = scheduled.select_for_update().order_by(OrderedId())
    found: dict[tuple[type[Model], int], str] = {(Message, i): token for i, token in locked.values_list("id", "token")}
    return found | {(ScheduledMessage, i): "" for i in due_later.values_list("id", flat=True)}


def write_revoked(
    engine: Engine,
    messages: Sequence[Message | ScheduledMessage],
    unsent: Collection[str] = frozenset(),
    *,
    untracked: bool = True,
) -> None:
    """Write ``REVOKED`` for tasks whose ``messages`` were deleted, and for ``unsent`` tasks of workflows.

    ``untracked`` tells whether a task without a TaskRun and without dependents gets a TaskRun.
    """
    known = {message.task_id: message for message in messages}
    if not known and not unsent:
        return
    runs = TaskRun.objects.using(engine.alias).filter(task_id__in=known)
    tracked = set(runs.values_list("task_id", flat=True))
    now = engine.now()
    ends = [complete(_revoked(m, now, task_id in tracked), m) for task_id, m in known.items()]
    if not untracked:
        ends = [end for end in ends if end.tracked or end.linked]
    # Tasks that were ``unsent`` may have been sent and have ended since: these are left out.
    nodes = Node.objects.using(engine.alias).filter(task_id__in=set(unsent).difference(known), state="")
    for place in read_places(nodes):
        group_id = place.group_id
        ends.append(
            revoked(0, place.task_id, place.name, finished=now, tracked=False, group_id=group_id, member=bool(group_id))
        )
    write_ends(engine, sorted(ends, key=lambda s: s.task_id))
    after_commit(engine, partial(log_lines.tasks_revoked, ends))


def _revoked(m: Message | ScheduledMessage, now: float, tracked: bool) -> Settlement:
    return revoked(m.id, m.task_id, m.name, queue=home(m.queue), finished=now, tracked=tracked)
