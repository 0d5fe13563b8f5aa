"""Adds a run's follow-ups to its Outcome: callbacks, the next link, errbacks, and the dependents that never run.

Called by ``pipeline`` between the end of the function and the handlers. The transaction that settles the run sends
the follow-ups. A task without a workflow gets none. What is large is written before, the result too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from taskq import states
from taskq.handover import Outcome
from taskq.messages import values
from taskq.messages.announcing import announce
from taskq.messages.protocol import decode_message
from taskq.records import FollowUps, NewGroup
from taskq.results.serialization import from_frozen
from taskq.workflows import errbacks, followups
from taskq.workflows.dependents import dependents
from taskq.workflows.plan import Plan, next_after

from . import bodies, large_results, log_lines, outcomes, parts
from .run import Run

#: Children are not noted if their results have more characters than this.
_LONGEST_CHILDREN = 1_000_000


def after(run: Run, outcome: Outcome) -> Outcome:
    """Complete the outcome of ``run``: a failure, if its result can't be stored, or its follow-ups can't be sent."""
    outcome = large_results.written_ahead(run, outcome)
    if has_follow_ups(run):
        outcome = _continued(run, outcome)
        if outcome.state in (states.FAILURE, states.REVOKED, states.IGNORED) and not outcome.replaced:
            _end_dependents(run, outcome)
    return outcome


def writes_rows(run: Run, outcome: Outcome) -> bool:
    """Tell whether ``after`` may write rows, or call code of the project."""
    return has_follow_ups(run) or large_results.is_large(run, outcome)


def has_follow_ups(run: Run) -> bool:
    """Tell whether anything depends on the end of ``run``, or takes its place."""
    request = run.request
    others = request.replacement is not None or request.ending is not None or bool(request.added)
    return others or any(request.embed.values())


def after_refusal(run: Run, outcome: Outcome) -> Outcome:
    """Complete the outcome of a message that can't be run."""
    found = followups.of_message(run.delivery, outcome.state, outcome.result or "{}")
    if not run.in_memory and hasattr(run, "headers"):  # else its headers can't be read either
        found = parts.unreachable(run, found.unreachable) + parts.of_failure(run, replace(found, unreachable=[]))
    outcome.follow_ups = found
    return outcome


# -- the workflow goes on ---------------------------------------------------------------


def _continued(run: Run, outcome: Outcome) -> Outcome:
    try:
        if outcome.state == states.SUCCESS and run.request.ending is not None:
            bodies.follow(run, outcome, run.request.ending)
        elif outcome.state == states.SUCCESS:
            _send_next(run, outcome)
        elif outcome.state == states.IGNORED and run.request.replacement is not None:
            _add(run, outcome, run.request.replacement, parts.of_replacement)
        else:
            return outcome
        _add_members(run, outcome)
    except Exception as error:
        # As after a value that can't be stored, the run has no follow-ups.
        run.request.replacement = None
        return replace(outcomes.failed(run, error), result_row=outcome.result_row)
    return outcome


def _send_next(run: Run, outcome: Outcome) -> None:
    embed, headers = run.request.embed, run.headers
    if embed.get("callbacks") or embed.get("chain"):
        _add(run, outcome, next_after(embed, run.value, task_id=headers.id, root_id=headers.root_id), parts.of_success)


def _add(
    run: Run, outcome: Outcome, plan: Plan, write: Callable[[Run, FollowUps], FollowUps] = parts.written_ahead
) -> FollowUps:
    """Add a plan to the follow-ups of the outcome, after ``write`` has written large ones; return all follow-ups."""
    found, children = plan.follow_ups(), plan.children
    announce(found.envelopes)
    for rest in found.rests:
        rest.trail = run.task.trail
    if not run.in_memory:
        found, more = parts.with_large_rests(run, found)
        children = [*children, *more]
    outcome.follow_ups += found if run.in_memory else write(run, found)
    if children and run.task.trail:
        run.request.children.extend(map(from_frozen, children))
        text = values.encode_children(run.request.children)
        outcome.children = text if text is not None and len(text) <= _LONGEST_CHILDREN else None
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
        found = dependents(embed)
        outcome.follow_ups += FollowUps(unreachable=found) if run.in_memory else parts.unreachable(run, found)
    except Exception:  # the message may be malformed in any way
        log_lines.follow_ups_unreadable(run.headers.id)
    if outcome.state == states.FAILURE and (called := embed.get("errbacks")):
        sent = errbacks.planned(called, _failure(run, outcome))
        outcome.follow_ups += sent if run.in_memory else parts.of_failure(run, sent)


def _failure(run: Run, outcome: Outcome) -> errbacks.Failure:
    # Read again: the task may have changed its arguments to values that can't be sent.
    args, kwargs, _ = decode_message(run.delivery, run.request.message)
    error = outcome.result or "{}"
    return errbacks.failure_of(run.delivery, run.request.message, error, args, kwargs, outcome.traceback)
