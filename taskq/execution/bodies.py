"""Large bodies of chords: the task ``taskq.body`` plans one in its process. See ``workflows.large_bodies``.

The built-in tasks set ``request.ending``, and ``followups`` adds it to the outcome by ``follow``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.db import DatabaseError, InterfaceError

from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.exceptions import Reject
from taskq.handover import Outcome
from taskq.messages.exception_data import encode_exception
from taskq.records import LOOK_UP_IN_ROWS, FollowUps
from taskq.store.workflow_rows import DatabaseWorkflows
from taskq.workflows import errbacks, followups
from taskq.workflows.port import Body

from . import parts
from .run import Run
from .tracebacks import format_exception


@dataclass(slots=True)
class Ending:
    """The follow-ups that a built-in task has planned for others.

    They are one of three:

    - the messages of a body that is sent;
    - the tasks and errbacks of a body that fails with ``error``, an exception as data. A ``traceback`` says that the
      body can't be sent; without it, a member has failed;
    - the errbacks of a task that has failed with ``errbacks_of``, an exception as data.
    """

    found: FollowUps
    error: str | None = None
    traceback: str | None = None
    errbacks_of: str | None = None


def planned(group_id: str, parent_id: str, error: str | None) -> Ending:
    """Read and plan the body of a group, or its failure with ``error``. A body that can't be sent fails.

    Nothing follows if the group has no body any more. Raises ``Reject`` while the database is away.
    """
    engine = for_alias(settings.DATABASE)
    try:
        return _planned(engine, group_id, parent_id, error)
    except (DatabaseError, InterfaceError) as problem:
        if engine.may_pass(problem):
            raise Reject(problem, requeue=True) from problem
        raise


def _planned(engine: Engine, group_id: str, parent_id: str, error: str | None) -> Ending:
    rows = DatabaseWorkflows(engine)
    for body in rows.bodies([group_id]):
        if error is not None:
            return Ending(_failed(rows, body, error), error)
        try:
            return Ending(_sent(rows, body, parent_id))
        except (DatabaseError, InterfaceError):
            raise
        except Exception as problem:
            error = encode_exception(problem)
            return Ending(_failed(rows, body, error), error, format_exception(problem))
    return Ending(FollowUps())


def _sent(rows: DatabaseWorkflows, body: Body, parent_id: str) -> FollowUps:
    if not body.body:
        raise followups.ALTERED_BODY
    found = followups.of_body(body, rows.members(body.group_id), parent_id, [])
    # This raises if a message has no queue. The copies for the queues are made where the messages are sent.
    rows.resolve(found.envelopes)
    return found


def _failed(rows: DatabaseWorkflows, body: Body, error: str) -> FollowUps:
    found = followups.of_failed_body(body.body, error, errbacks.planned) if body.body else FollowUps()
    if not found.unreachable:
        # The body can't be read: the nodes say which tasks wait for the group.
        return FollowUps(unreachable=[LOOK_UP_IN_ROWS])
    return parts.with_queues(rows, found)


def follow(run: Run, outcome: Outcome, ending: Ending) -> None:
    """Add an ending to the follow-ups of the outcome, in parts if it is large."""
    if ending.errbacks_of is not None:
        _send_errbacks(run, outcome, ending.found, ending.errbacks_of)
        return
    if ending.error is None:
        outcome.follow_ups += parts.of_success(run, ending.found)
        return
    outcome.result, outcome.traceback = ending.error, ending.traceback
    outcome.follow_ups += parts.unreachable(run, ending.found.unreachable)
    outcome.follow_ups += parts.of_failure(run, replace(ending.found, unreachable=()))


def _send_errbacks(run: Run, outcome: Outcome, found: FollowUps, error: str) -> None:
    if not run.in_memory:
        found = parts.of_errbacks(run, found)
    if found.unreachable:
        # Errbacks that can't be sent fail with the error of the failed task.
        outcome.result = error
    outcome.follow_ups += found
