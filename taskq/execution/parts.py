"""Follow-ups in parts: the process that ran the task writes follow-ups that are too large for one transaction.

The settlement then has only the pending row, which begins the work (``workflows.parts``). Called by ``followups`` and
``bodies``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps

from django.db import DatabaseError, InterfaceError

from taskq import ids
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.records import FollowUps, FrozenResult, NewGroup, Unreachable
from taskq.store.exchanges import resolve
from taskq.store.long_rests import write_ahead
from taskq.store.workflow_rows import DatabaseWorkflows
from taskq.workflows.cascade import replacement_nodes
from taskq.workflows.parts import dependents_in_parts, is_large, sent_in_parts
from taskq.workflows.rests import is_planned_before
from taskq.workflows.sendable import next_steps, sendable_errbacks, sent_before

from . import log_lines
from .run import Run

#: How many ids are looked for at once.
_AT_ONCE = 1_000


def written_ahead(run: Run, found: FollowUps) -> FollowUps:
    """Write large rests, parts and bodies now; return the follow-ups without these."""
    try:
        return replace(found, groups=write_ahead(found.groups)) if found.groups else found
    except (DatabaseError, InterfaceError) as error:
        # The worker writes all of it as soon as it can.
        log_lines.rest_not_written(run, error)
        return found


def _or_whole(write: Callable[[Run, FollowUps], FollowUps]) -> Callable[[Run, FollowUps], FollowUps]:
    """Have ``write`` return the follow-ups whole if the database is away: the settlement then writes all of them."""

    @wraps(write)
    def tried(run: Run, found: FollowUps) -> FollowUps:
        try:
            return write(run, found)
        except (DatabaseError, InterfaceError) as error:
            log_lines.rest_not_written(run, error)
            return found

    return tried


def with_large_rests(run: Run, found: FollowUps) -> tuple[FollowUps, list[FrozenResult]]:
    """Return follow-ups with the next steps that no main process plans, and the results to note as children.

    Raises if a step can't be sent. If the database is away, the steps are left to the worker after all.
    """
    large = list(filter(is_planned_before, found.rests))
    if not large:
        return found, []
    try:
        steps, children = next_steps(_rows(), large)
        # This raises if a message has no queue. The copies for the queues are made where the messages are sent.
        resolve(steps.envelopes, settings.DATABASE)
    except (DatabaseError, InterfaceError) as error:
        log_lines.rest_not_written(run, error)
        return found, []
    others = [rest for rest in found.rests if rest not in large]
    planned = [replace(rest, planned=True, value="") for rest in large]
    return replace(found + steps, rests=[*others, *planned]), children


@_or_whole
def of_success(run: Run, found: FollowUps) -> FollowUps:
    """Return the follow-ups of a success. Large ones are written now, and the pending row is returned for them."""
    if not is_large(found):
        return written_ahead(run, found)
    sent = replace(found, envelopes=resolve(found.envelopes, settings.DATABASE))
    return _pending(run, sent, FollowUps(rests=found.rests))


@_or_whole
def of_failure(run: Run, found: FollowUps) -> FollowUps:
    """Do ``of_success`` for the errbacks of a failure; those whose exchange has no queue are left out."""
    if not is_large(found):
        return written_ahead(run, found)
    sent = sendable_errbacks(_rows(), found)
    return _pending(run, replace(sent, unreachable=()), FollowUps(unreachable=sent.unreachable))


@_or_whole
def of_errbacks(run: Run, found: FollowUps) -> FollowUps:
    """Do ``of_failure`` for errbacks of another task, as follow-ups of a success; see ``with_queues``."""
    return of_failure(run, with_queues(_rows(), found))


def with_queues(rows: DatabaseWorkflows, found: FollowUps) -> FollowUps:
    """Return the follow-ups of a failure without the errbacks whose exchange has no queue; the others are as before."""
    sendable = sendable_errbacks(rows, found)
    going = {envelope.task_id for envelope in sendable.envelopes}
    return replace(sendable, envelopes=[envelope for envelope in found.envelopes if envelope.task_id in going])


@_or_whole
def of_replacement(run: Run, found: FollowUps) -> FollowUps:
    """Do ``of_success`` for a replacement. The node of its last task stays with the settlement: it has the task's id.

    The other nodes are in the parts before those with messages, so that no task runs before its workflow is known.
    Raises ``ValueError`` if one of the tasks was sent before.
    """
    if not is_large(found):
        return written_ahead(run, found)
    own, store = run.headers.id, _rows()
    _refuse_sent(store, [node.task_id for node in found.nodes if node.task_id != own])
    nodes = replacement_nodes(own, found.nodes, store.predecessor(own))
    envelopes = resolve(found.envelopes, settings.DATABASE)
    sent = FollowUps(envelopes, found.groups, [node for node in nodes if node.task_id != own])
    return _pending(run, sent, FollowUps(nodes=[node for node in nodes if node.task_id == own]))


def unreachable(run: Run, found: Sequence[Unreachable]) -> FollowUps:
    """Return dependents as the settlement fails them: of many the first, and a reference to the rows of the others."""
    first, groups = dependents_in_parts(found, run.headers.root_id)
    return written_ahead(run, FollowUps(groups=groups, unreachable=first))


def _pending(run: Run, sent: FollowUps, at_once: FollowUps) -> FollowUps:
    """Write the messages and nodes of ``sent`` in parts; return its groups, the pending row, and ``at_once``."""
    groups, root_id = [*sent.groups], run.headers.root_id
    pending = sent_in_parts(sent, ids.new_id(), root_id, _keep_in(groups, root_id))
    ahead = written_ahead(run, FollowUps(groups=groups))
    return at_once + ahead + FollowUps(groups=[pending.row])


def _refuse_sent(store: DatabaseWorkflows, task_ids: Sequence[str]) -> None:
    for begin in range(0, len(task_ids), _AT_ONCE):
        if sent := store.known_nodes(task_ids[begin : begin + _AT_ONCE]):
            raise sent_before(sent)


def _rows() -> DatabaseWorkflows:
    return DatabaseWorkflows(for_alias(settings.DATABASE))


def _keep_in(groups: list[NewGroup], root_id: str) -> Callable[[str, str], None]:
    return lambda key, text: groups.append(NewGroup(key, 0, text, root_id))
