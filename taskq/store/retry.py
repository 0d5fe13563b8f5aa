"""Retry: ended tasks wait again under their ids, or are run again as new tasks. Called by ``sending.publisher``.

In place the outcome of the task becomes an ``Attempt``, and its row is ``PENDING`` as when it was sent. As new the row
stays, and a ``Rerun`` links the two. The messages are planned by the caller, and inserted in the same transaction. They
have no follow-ups: a task that others follow runs in place from its kept message only (``retry_workflow``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from taskq import states
from taskq.engines import Engine
from taskq.exceptions import CannotRetry
from taskq.messages import arguments
from taskq.messages.protocol.options import is_storable
from taskq.models import Node, Rerun, Revocation, TaskRun
from taskq.records import Envelope, Moment

from .ends import ended_runs

#: Makes the message of a run; raises ``CannotRetry``.
Plan = Callable[[TaskRun], Envelope]
#: Why tasks were not retried, by their ids.
Refused = dict[str, CannotRetry]
_LARGE = ("result", "traceback", "children")
#: The columns of a TaskRun that its task's end changes, with their values before.
_BEFORE: dict[str, Any] = {
    "state": states.PENDING,
    "result": None,
    "content_type": "application/json",
    "traceback": None,
    "retries": 0,
    "worker": "",
    "children": None,
    "started_at": None,
    "finished_at": None,
    "runtime": None,
}


def reset(engine: Engine, task_ids: Sequence[str], plan: Plan) -> tuple[list[Envelope], Refused]:
    """Make ended tasks ``PENDING`` again, in the caller's transaction; return their messages, and who was refused.

    Of two transactions at once the second waits for the first, and finds that the tasks have not ended.
    """
    refused: Refused = {}
    runs: dict[int, TaskRun] = {}
    envelopes: list[Envelope] = []
    locked = _locked(engine, task_ids)
    followed = awaited_among([run.task_id for run in locked], engine.alias)

    def planned(run: TaskRun) -> Envelope:
        if run.task_id in followed:
            raise _unkept(run)
        return plan(run)

    for run, envelope in _planned(engine, locked, planned, refused):
        runs[run.id] = run
        envelopes.append(envelope)
    _refuse_by_state(engine, set(task_ids).difference(refused, (run.task_id for run in runs.values())), refused)
    _note_missing(task_ids, {run.task_id for run in runs.values()}, refused)
    if runs:
        engine.keep_attempts(list(runs))
        _reset(engine, runs, {envelope.task_id: envelope for envelope in envelopes})
        ids = [run.task_id for run in runs.values()]
        Node.objects.using(engine.alias).filter(task_id__in=ids).update(state="", revoked=False)
        Revocation.objects.using(engine.alias).filter(revoked_id__in=ids)._raw_delete(engine.alias)
    return envelopes, refused


def link(
    engine: Engine, task_ids: Sequence[str], plan: Plan, by: str, reason: str, since: datetime | None = None
) -> tuple[list[tuple[str, Envelope]], Refused]:
    """Write a ``Rerun`` for each ended task; return the old ids with the new messages, and who was refused.

    Tasks that were run again after the moment ``since`` are refused. With ``since`` their rows are locked, so that of
    two transactions at once the second sees the reruns of the first.
    """
    refused: Refused = {}
    runs = TaskRun.objects.using(engine.alias).filter(task_id__in=_possible(task_ids)).order_by("task_id")
    rows: Collection[TaskRun] = runs.defer(*_LARGE)
    if since is not None:
        rows = list(runs.defer(*_LARGE).select_for_update())
        refused |= _repeated(engine, rows, since)
        rows = [run for run in rows if run.task_id not in refused]
    found = [(run.task_id, envelope) for run, envelope in _planned(engine, rows, plan, refused)]
    _note_missing(task_ids, {task_id for task_id, _ in found}, refused)
    Rerun.objects.using(engine.alias).bulk_create(
        Rerun(task_id=envelope.task_id, of_task_id=task_id, by=by, reason=reason, created_at=engine.now_expression())
        for task_id, envelope in found
    )
    return found, refused


def _repeated(engine: Engine, runs: Collection[TaskRun], since: datetime) -> Refused:
    of = [run.task_id for run in runs]
    again = Rerun.objects.using(engine.alias).filter(of_task_id__in=of, created_at__gte=since)
    return {
        task_id: CannotRetry("repeated", f"The task {task_id} was run again already, as {new}.")
        for task_id, new in again.values_list("of_task_id", "task_id")
    }


def _possible(task_ids: Collection[str]) -> list[str]:
    """Return ids that may be those of tasks: a database refuses a statement with others."""
    return [task_id for task_id in task_ids if is_storable(task_id)]


def _locked(engine: Engine, task_ids: Sequence[str]) -> list[TaskRun]:
    """Return the runs that may have to run again, locked."""
    runs = TaskRun.objects.using(engine.alias).filter(task_id__in=_possible(task_ids)).defer(*_LARGE)
    never = [states.PENDING, states.SUCCESS]
    return list(runs.exclude(state__in=never).select_for_update().order_by("task_id"))


def _planned(
    engine: Engine, runs: Collection[TaskRun], plan: Plan, refused: Refused
) -> Iterator[tuple[TaskRun, Envelope]]:
    ended = {run.task_id for run in ended_runs(engine, runs)}
    for run in runs:
        try:
            if run.task_id not in ended:
                raise _unfinished(run)
            yield run, plan(run)
        except CannotRetry as error:
            refused[run.task_id] = error


def awaited_among(task_ids: Sequence[str], alias: str) -> set[str]:
    """Return those of ``task_ids`` whose ends a group counts, or another task waits for."""
    nodes = Node.objects.using(alias)
    places = nodes.filter(task_id__in=task_ids).values_list("task_id", "group_id", "root_id")
    groups = {task_id: (group_id, root_id) for task_id, group_id, root_id in places}
    alone = [task_id for task_id, (group_id, _) in groups.items() if not group_id]
    # By the root: no index has what tasks wait for.
    roots = {groups[task_id][1] for task_id in alone}
    waiting = nodes.filter(root_id__in=roots, waits_for__in=alone) if alone else nodes.none()
    return groups.keys() - alone | {*waiting.values_list("waits_for", flat=True)}


def _unkept(run: TaskRun) -> CannotRetry:
    return CannotRetry(
        "unkept",
        f"Others in the workflow of {run} were to follow it, and its message was not kept: it was revoked, or its "
        "message or that of a follower has sensitive arguments, or is too large, or it failed before taskq kept "
        "messages. Run it as a new task, or send its workflow anew.",
    )


def _unfinished(run: TaskRun) -> CannotRetry:
    doing = "runs" if run.started_at is not None else "waits"
    return CannotRetry("unfinished", f"{run} has not ended: it {doing}.")


def _refuse_by_state(engine: Engine, task_ids: Collection[str], refused: Refused) -> None:
    """Refuse the tasks that ``_locked`` has left out, each with the reason that its state gives."""
    runs = TaskRun.objects.using(engine.alias).filter(task_id__in=_possible(task_ids))
    for run in runs.only("task_id", "name", "state", "started_at"):
        if run.state == states.SUCCESS:
            text = f"{run} has succeeded: it can be run again as a new task only."
            refused[run.task_id] = CannotRetry("succeeded", text)
        else:
            refused[run.task_id] = _unfinished(run)


def _note_missing(task_ids: Collection[str], found: Collection[str], refused: Refused) -> None:
    for task_id in set(task_ids).difference(found, refused):
        refused[task_id] = CannotRetry("missing", f"There is no task {task_id[:100]}, or its row was deleted.")


def _reset(engine: Engine, runs: Mapping[int, TaskRun], envelopes: Mapping[str, Envelope]) -> None:
    rows = TaskRun.objects.using(engine.alias)
    now = datetime.fromtimestamp(engine.now(), UTC)
    rows.filter(id__in=list(runs)).update(**_BEFORE, created_at=now, eta=None, expires_at=None)
    for number, run in runs.items():
        if changes := _changes(run, envelopes[run.task_id], now):
            rows.filter(id=number).update(**changes)


def _changes(run: TaskRun, envelope: Envelope, now: datetime) -> dict[str, Any]:
    """Return the columns of a run that differ from its new message."""
    text = arguments.seal(envelope.arguments, run.task_id, run.name)
    found: dict[str, Any] = {} if text == run.arguments else {"arguments": text}
    if envelope.queue and envelope.queue != run.queue:
        found["queue"] = envelope.queue
    if envelope.priority != run.priority:
        found["priority"] = envelope.priority
    if envelope.later:
        found["eta"] = _at(envelope.due, now)
    if envelope.expires is not None or envelope.expires_in is not None:
        found["expires_at"] = _at(envelope.expiry, now)
    return found


def _at(moment: Moment, now: datetime) -> datetime:
    unix, seconds = moment
    return now + timedelta(seconds=seconds or 0.0) if unix is None else datetime.fromtimestamp(unix, UTC)
