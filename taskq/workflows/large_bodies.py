"""Large bodies of chords: a worker's main process neither reads nor plans them.

A body may be a group of 100,000 tasks, or get megabytes of values. In its place goes one small message of the built-in
task ``taskq.body``. The process that runs it reads the body in its row and the values in theirs
(``execution.bodies``), and its end sends the body in parts (``parts``), or fails it. Called by ``advance``.

The message has the id of the group. The nodes of the body wait for that id already, so that the body fails however
this task ends. The task has no node, and leaves no TaskRun.

There may be two such messages for one body: a message may be copied, and a failed group can be retried. The first one
that is settled counts. For the second one, the row of the group says that its body does not wait any more. In a failed
group the body stays, since a retry needs it: there the first task of the body has failed already, and that is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from taskq import states
from taskq.messages import protocol
from taskq.messages.announcing import announce
from taskq.records import LOOK_UP_IN_ROWS, FollowUps, Settlement, Unreachable

from . import rests
from .port import Body, WorkflowStore

#: The built-in task that sends or fails a large body.
TASK = "taskq.body"
#: The most bytes of a body, and of the values that each of its tasks gets, and the most members, in a main process.
MOST_BYTES, MOST_MEMBERS = rests.MOST_BYTES, 2_000
#: The members have waited in the queue already.
_PRIORITY = 9


def message(body: Body, error: str | None, parent_id: str, queue: str) -> FollowUps:
    """Return the message whose task sends ``body``, or fails it with ``error``, an exception as data.

    ``queue`` is that of a member: its workers know the tasks of the workflow.
    """
    envelope = protocol.build(
        name=TASK,
        queue=queue,
        args=[parent_id, error],
        task_id=body.group_id,
        reset=False,
        # If the task is lost or never runs, the body fails as its dependent.
        chain=[rests.reference(body.group_id)],
        ignore_result=True,
        priority=_PRIORITY,
        serializer="json",
        root_id=body.root_id or None,
        parent_id=parent_id or None,
    )
    # A copy of the message does nothing after the first one, and so needs no row with signing either.
    envelope.tracked = False
    announce([envelope])
    return FollowUps([envelope])


def is_sent(s: Settlement) -> bool:
    """Tell whether an end of ``TASK`` sends the body. If it fails the body, its result is the exception."""
    return s.state == states.SUCCESS and s.result is None


def first_ends(store: WorkflowStore, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
    """Return ``settlements`` without those ends of ``TASK`` whose body does not wait for them; end the others' waiting.

    A task that was lost, or never ran, has planned nothing: its dependents are looked up in the rows.
    """
    ends = {s.task_id: s for s in settlements if s.name == TASK}
    if not ends:
        return settlements
    waiting = store.waiting_bodies(ends)
    over = {group_id: failed for group_id, failed in waiting.items() if _suits(ends[group_id], failed)}
    store.end_bodies(over)
    return [_with_dependents(s) for s in settlements if s.name != TASK or s.task_id in over]


def _suits(s: Settlement, failed: bool) -> bool:
    """Tell whether an end suits its group, which has a ``failed`` member now, or none.

    Another member may have failed, or the group may have been retried, since the end was planned.
    """
    if failed:
        return not is_sent(s)
    # A body that fails without a traceback fails because of a member. A task that was lost has planned nothing.
    fails_by_member = s.state == states.SUCCESS and s.result is not None and s.traceback is None
    return not fails_by_member


def without_runs(settlements: Sequence[Settlement]) -> Sequence[Settlement]:
    """Return ``settlements`` so that none of ``TASK`` writes a TaskRun: the next such task has the same id."""
    if not any(s.name == TASK and s.keep for s in settlements):
        return settlements
    return [replace(s, keep=False) if s.name == TASK else s for s in settlements]


def _with_dependents(s: Settlement) -> Settlement:
    """Return an end that planned nothing so that its dependents are looked up in the rows, any other as it is."""
    # Then the reference in its message is still among its dependents.
    if s.name != TASK or Unreachable(s.task_id, rests.NAME) not in s.follow_ups.unreachable:
        return s
    return replace(s, follow_ups=FollowUps(unreachable=[LOOK_UP_IN_ROWS]))
