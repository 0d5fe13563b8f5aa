"""What follows from a run: callbacks, the next of the chain, errbacks, and what will never run.

Called by ``pipeline`` between the end and the telling of it. All of it becomes part of
the ``Outcome`` and is sent by the transaction that settles the run: nothing of the user's
is called here. Of tasks without a workflow the outcome is as it was.
"""

from __future__ import annotations

import logging
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from taskq import states
from taskq.handover import Outcome
from taskq.messages import values
from taskq.messages.protocol import decode_body
from taskq.records import Dependent, Envelope, NewGroup, NewNode, Sequel
from taskq.sending import publisher
from taskq.workflows import errbacks, followups
from taskq.workflows import plan as planning

from . import outcomes
from .run import Run

if TYPE_CHECKING:
    from taskq.results.async_result import AsyncResult

logger = logging.getLogger("taskq.worker")

_envelope = attrgetter(*Envelope.__slots__)
_group = attrgetter(*NewGroup.__slots__)
_node = attrgetter(*NewNode.__slots__)
_dependent = attrgetter(*Dependent.__slots__)


def after(run: Run, outcome: Outcome) -> Outcome:
    """Complete the outcome of ``run`` by what follows from it; what can't be sent makes a failure of a success."""
    request = run.request
    if request.replacement is not None or request.added or any(run.request.embed.values()):
        outcome = _continued(run, outcome)
        replaced = outcome.state == states.IGNORED and request.replacement is not None
        if outcome.state in (states.FAILURE, states.REVOKED, states.IGNORED) and not replaced:
            _give_up(run, outcome)
    return outcome


def after_refusal(run: Run, outcome: Outcome) -> Outcome:
    """Complete the outcome of a message that could not be read as a task's."""
    sequel = followups.read(run.delivery, outcome.state, outcome.result or "{}")
    outcome.dependents += map(_dependent, sequel.dependents)
    _follow(outcome, sequel)
    return outcome


# -- what goes on -----------------------------------------------------------------------


def _continued(run: Run, outcome: Outcome) -> Outcome:
    try:
        if outcome.state == states.SUCCESS:
            _go_on(run, outcome)
        elif outcome.state == states.IGNORED and run.request.replacement is not None:
            _add(run, outcome, run.request.replacement)
        else:
            return outcome
        _add_members(run, outcome)
    except Exception as error:
        # As with a value that can't be stored: nothing follows from it.
        run.request.replacement = None
        return outcomes.failed(run, error)
    return outcome


def _go_on(run: Run, outcome: Outcome) -> None:
    embed, headers = run.request.embed, run.headers
    if embed.get("callbacks") or embed.get("chain"):
        _add(run, outcome, planning.next_after(embed, run.value, task_id=headers.id, root_id=headers.root_id))


def _add(run: Run, outcome: Outcome, plan: planning.Plan) -> None:
    # First of all what may raise.
    envelopes = list(plan.envelopes)
    publisher.announce(envelopes)
    _follow(outcome, Sequel(envelopes, plan.groups, list(plan.nodes)))
    if plan.children and run.task.trail:
        run.request.children.extend(cast("list[AsyncResult[Any]]", plan.children))
        outcome.children = values.encode_children(run.request.children)


def _add_members(run: Run, outcome: Outcome) -> None:
    """Send what ``add_to_chord`` has added, and have the header wait for it."""
    counted: Counter[str] = Counter()
    for plan in run.request.added:
        plan.nodes = list(plan.nodes)
        counted.update(node.group_id for node in plan.nodes if node.group_id == run.request.group)
        _add(run, outcome, plan)
    outcome.groups += (_group(NewGroup(group_id, size, added=True)) for group_id, size in counted.items())


def _follow(outcome: Outcome, sequel: Sequel) -> None:
    outcome.follow_ups += map(_envelope, sequel.envelopes)
    outcome.groups += map(_group, sequel.groups)
    outcome.nodes += map(_node, sequel.nodes)


# -- what never will ----------------------------------------------------------------------


def _give_up(run: Run, outcome: Outcome) -> None:
    embed = run.request.embed
    if outcome.state == states.IGNORED and run.exception is not None:
        outcome.result = outcomes.encoded(run.exception)
    try:
        outcome.dependents += map(_dependent, planning.dependents(embed))
    except Exception:  # a message may hold anything
        logger.exception("What was to follow from %s can't be read.", run.headers.id)
    if outcome.state == states.FAILURE and (called := embed.get("errbacks")):
        told = errbacks.planned(called, _failure(run, outcome))
        outcome.dependents += map(_dependent, told.dependents)
        _follow(outcome, told)


def _failure(run: Run, outcome: Outcome) -> errbacks.Failure:
    delivery, message = run.delivery, run.request.message
    # Read anew: what the task has done to its arguments may be nothing that can be sent.
    args, kwargs, _ = decode_body(
        delivery.body, delivery.content_type, delivery.content_encoding, message, run.request.properties
    )
    return errbacks.failure_of(delivery, message, outcome.result or "{}", args, kwargs, outcome.traceback)
