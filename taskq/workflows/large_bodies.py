"""Large bodies of chords: a worker's main process neither reads nor plans them.

A body may be a group of 100,000 tasks, or get megabytes of values. In its place goes one small message of the built-in
task ``taskq.body``. The process that runs it reads the body in its row and the values in theirs
(``execution.bodies``), and its end sends the body in parts (``parts``), or fails it. Called by ``advance``.

The message has the id of the group: the nodes of the body wait for that id already, so that the body fails however
this task ends. It has no node and leaves no row. Of two such messages the first that is settled counts: the row of the
group says whether its body still waits. That of a failed group always does, since a retry needs it: there the second
message does nothing because the first task of the body has failed already.
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
        # Whoever can't run it fails the body.
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
    """Tell whether an end of ``TASK`` sends the body. A body that fails has its exception as the result."""
    return s.state == states.SUCCESS and s.result is None


def first_ends(store: WorkflowStore, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
    """Return ``settlements`` without ends of ``TASK`` that come second: their body waits no more. Note the first ends.

    A task that was lost, or never ran, has planned nothing: the rows say what fails.
    """
    ends = {s.task_id: s for s in settlements if s.name == TASK}
    if not ends:
        return settlements
    waiting = store.waiting_bodies(ends)
    over = {group_id: failed for group_id, failed in waiting.items() if _fits(ends[group_id], failed)}
    store.end_bodies(over)
    return [_with_dependents(s) for s in settlements if s.name != TASK or s.task_id in over]


def _fits(s: Settlement, failed: bool) -> bool:
    """Tell whether an end was planned for a group that has failed, or has not, as it is now. Whatever was lost counts.

    A body fails because a member has, or because it can't be sent: the latter has a traceback.
    """
    if failed:
        return not is_sent(s)
    return s.state != states.SUCCESS or s.result is None or s.traceback is not None


def without_runs(settlements: Sequence[Settlement]) -> Sequence[Settlement]:
    """Return ``settlements`` so that none of ``TASK`` writes a run: it would be the end of the next such task too."""
    if not any(s.name == TASK and s.keep for s in settlements):
        return settlements
    return [replace(s, keep=False) if s.name == TASK else s for s in settlements]


def _with_dependents(s: Settlement) -> Settlement:
    """Return an end that planned nothing so that its dependents are looked up in the rows, any other as it is."""
    if s.name != TASK or Unreachable(s.task_id, rests.NAME) not in s.follow_ups.unreachable:
        return s
    return replace(s, follow_ups=FollowUps(unreachable=[LOOK_UP_IN_ROWS]))
