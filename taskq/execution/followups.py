"""Adds a run's follow-ups to its Outcome: callbacks, the next link, errbacks, and the dependents that never run.

Called by ``pipeline`` between the end of the function and the handlers. The transaction that settles the run sends
the follow-ups. A task without a workflow gets none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from django.db import DatabaseError, InterfaceError

from taskq import ids, states
from taskq.conf import settings
from taskq.handover import Outcome
from taskq.messages import values
from taskq.messages.announcing import announce
from taskq.messages.protocol import decode_message
from taskq.records import FollowUps, NewGroup, Unreachable
from taskq.results.serialization import from_frozen
from taskq.store.exchanges import resolve
from taskq.store.long_rests import write_ahead
from taskq.workflows import errbacks, followups
from taskq.workflows.dependents import dependents
from taskq.workflows.parts import dependents_in_parts, is_large, sent_in_parts
from taskq.workflows.plan import Plan, next_after

from . import log_lines, outcomes
from .run import Run

#: The results of more children than this many characters are not noted.
_LONGEST_CHILDREN = 1_000_000


def after(run: Run, outcome: Outcome) -> Outcome:
    """Complete the outcome of ``run``: a failure, if its follow-ups can't be sent."""
    if goes_on(run):
        outcome = _continued(run, outcome)
        if outcome.state in (states.FAILURE, states.REVOKED, states.IGNORED) and not outcome.replaced:
            _end_dependents(run, outcome)
    return outcome


def goes_on(run: Run) -> bool:
    """Tell whether anything depends on the end of ``run``, or takes its place."""
    request = run.request
    return request.replacement is not None or bool(request.added) or any(request.embed.values())


def after_refusal(run: Run, outcome: Outcome) -> Outcome:
    """Complete the outcome of a message that can't be run."""
    outcome.follow_ups = followups.of_message(run.delivery, outcome.state, outcome.result or "{}")
    return outcome


# -- the workflow goes on ---------------------------------------------------------------


def _continued(run: Run, outcome: Outcome) -> Outcome:
    try:
        if outcome.state == states.SUCCESS:
            _send_next(run, outcome)
        elif outcome.state == states.IGNORED and run.request.replacement is not None:
            _add(run, outcome, run.request.replacement)
        else:
            return outcome
        _add_members(run, outcome)
    except Exception as error:
        # As after a value that can't be stored, the run has no follow-ups.
        run.request.replacement = None
        return outcomes.failed(run, error)
    return outcome


def _send_next(run: Run, outcome: Outcome) -> None:
    embed, headers = run.request.embed, run.headers
    if embed.get("callbacks") or embed.get("chain"):
        _add(run, outcome, next_after(embed, run.value, task_id=headers.id, root_id=headers.root_id), _in_parts)


def _add(
    run: Run, outcome: Outcome, plan: Plan, write: Callable[[Run, FollowUps], FollowUps] | None = None
) -> FollowUps:
    """Add a plan to the follow-ups; return it. What is large and can be written before, is written here."""
    found = plan.follow_ups()
    announce(found.envelopes)
    outcome.follow_ups += found if run.in_memory else (write or _written_ahead)(run, found)
    for rest in found.rests:
        rest.trail = run.task.trail
    if plan.children and run.task.trail:
        run.request.children.extend(map(from_frozen, plan.children))
        text = values.encode_children(run.request.children)
        outcome.children = text if text is not None and len(text) <= _LONGEST_CHILDREN else None
    return found


def _in_parts(run: Run, found: FollowUps) -> FollowUps:
    """Return follow-ups as the settlement sends them: of many only what is pending, since rows have the messages."""
    if not is_large(found):
        return _written_ahead(run, found)
    sent = replace(found, envelopes=resolve(found.envelopes, settings.DATABASE))
    groups, root_id = [*found.groups], run.headers.root_id
    pending = sent_in_parts(sent, ids.new_id(), root_id, _keep_in(groups, root_id))
    ahead = _written_ahead(run, FollowUps(groups=groups, rests=found.rests))
    return ahead + FollowUps(groups=[pending.row])


def _keep_in(groups: list[NewGroup], root_id: str) -> Callable[[str, str], None]:
    return lambda key, text: groups.append(NewGroup(key, 0, text, root_id))


def _written_ahead(run: Run, found: FollowUps) -> FollowUps:
    """Return follow-ups without what is large and can be written before: a long rest of the chain, and parts."""
    try:
        return replace(found, groups=write_ahead(found.groups)) if found.groups else found
    except (DatabaseError, InterfaceError) as error:
        # The worker writes all of it as soon as it can.
        log_lines.rest_not_written(run, error)
        return found


def _add_members(run: Run, outcome: Outcome) -> None:
    """Add the signatures of ``add_to_chord`` to the follow-ups, and their number to the group's size."""
    nodes = [node for plan in run.request.added for node in _add(run, outcome, plan).nodes]
    if nodes:
        group_id = run.request.group or ""
        size = sum(node.group_id == group_id for node in nodes)
        grown = NewGroup(group_id, size, added=[node.task_id for node in nodes])
        outcome.follow_ups += FollowUps(groups=[grown])


# -- the workflow ends ------------------------------------------------------------------


def _end_dependents(run: Run, outcome: Outcome) -> None:
    embed = run.request.embed
    if outcome.state == states.IGNORED and run.exception is not None:
        outcome.result = outcomes.encoded(run.exception)
    try:
        outcome.follow_ups += _failing(run, dependents(embed))
    except Exception:  # the message may be malformed in any way
        log_lines.follow_ups_unreadable(run.headers.id)
    if outcome.state == states.FAILURE and (called := embed.get("errbacks")):
        outcome.follow_ups += errbacks.planned(called, _failure(run, outcome))


def _failing(run: Run, found: Sequence[Unreachable]) -> FollowUps:
    """Return dependents as the settlement fails them: of many the first, and a reference to the rows of the others."""
    groups: list[NewGroup] = []
    if not run.in_memory:
        found = dependents_in_parts(found, ids.new_id(), _keep_in(groups, run.headers.root_id))
    return _written_ahead(run, FollowUps(groups=groups, unreachable=found))


def _failure(run: Run, outcome: Outcome) -> errbacks.Failure:
    # Read again: the task may have changed its arguments to values that can't be sent.
    args, kwargs, _ = decode_message(run.delivery, run.request.message)
    error = outcome.result or "{}"
    return errbacks.failure_of(run.delivery, run.request.message, error, args, kwargs, outcome.traceback)
