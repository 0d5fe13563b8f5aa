"""Makes the follow-ups of ends ready to be sent, before the messages of these ends are deleted.

Exchanges become queues, and the next steps of a long chain are read from the rows. A success whose follow-ups can't be
sent becomes a failure. Called by ``settle``, ``memory`` and ``advance``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from taskq import states
from taskq.exceptions import QueueNotFound, TaskqError
from taskq.messages import values
from taskq.records import MOST_ANCESTORS, Envelope, FollowUps, FrozenResult, Rest, Settlement, Unreachable

from . import followups, log_lines
from .port import WorkflowStore


def sendable(store: WorkflowStore, s: Settlement) -> Settlement:
    """Return ``s`` with the queues of its follow-ups, or a failure in its place if a follow-up can't be sent."""
    if any(not rest.planned for rest in s.follow_ups.rests):
        s = _with_next_steps(store, s)
    if not s.follow_ups.envelopes or s.state == states.RETRY:
        return s
    if s.state in states.PROPAGATE_STATES:
        return replace(s, follow_ups=sendable_errbacks(store, s.follow_ups))
    # A message with the task's own id goes back to its old queue.
    same = [e for e in s.follow_ups.envelopes if e.task_id == s.task_id]
    others = [e for e in s.follow_ups.envelopes if e.task_id != s.task_id]
    try:
        return replace(s, follow_ups=replace(s.follow_ups, envelopes=[*same, *store.resolve(others)]))
    except QueueNotFound as error:
        return failed_instead(store, s, error)


def _with_next_steps(store: WorkflowStore, s: Settlement) -> Settlement:
    """Return ``s`` with the next steps of its chain, read from the rows; ``Advance`` clears these."""
    try:
        more, results = next_steps(store, [rest for rest in s.follow_ups.rests if not rest.planned])
    except Exception as error:
        if store.must_raise(error):
            raise
        return failed_instead(store, s, error)
    children = values.with_children(s.children, [result.as_tuple(MOST_ANCESTORS) for result in results])
    return replace(s, follow_ups=s.follow_ups + more, children=children)


def next_steps(store: WorkflowStore, found: Sequence[Rest]) -> tuple[FollowUps, list[FrozenResult]]:
    """Return the messages of the first steps of rests, read from the rows, and the results that are noted as children.

    Raises ``TaskqError`` if a row with a rest is gone or altered, and other errors if a step can't be sent.
    """
    texts = {body.group_id: body.body for body in store.bodies([rest.key for rest in found])}
    steps, children = FollowUps(), list[FrozenResult]()
    for rest in found:
        if not texts.get(rest.key):
            raise TaskqError(f"The row {rest.key}, which had the rest of this chain, was cleared or altered.")
        step, results = followups.of_rest(rest, texts[rest.key])
        steps += step
        children += results
    return steps, children


def sent_before(task_ids: Collection[str]) -> ValueError:
    """Return the error of a replacement, or of a new member, some of whose tasks were sent before."""
    return ValueError(
        f"The frozen signature with the id {min(task_ids)} was sent before, and one id is one task: "
        "replace() and add_to_chord() need a signature that was not sent."
    )


def failed_instead(
    store: WorkflowStore, s: Settlement, error: Exception, already_sent: Collection[str] = ()
) -> Settlement:
    """Return the failure that replaces a success, because its follow-ups can't be sent; see ``followups``."""
    log_lines.follow_ups_not_sent(s, error)
    failed = followups.failed_instead(s, store.message(s), error, already_sent)
    return replace(failed, follow_ups=sendable_errbacks(store, failed.follow_ups))


def sendable_errbacks(store: WorkflowStore, follow_ups: FollowUps) -> FollowUps:
    """Return the follow-ups of a failure with their queues, without the errbacks whose exchange has no queue.

    These are logged, and the failure stays. If such an errback has a node, its tasks are unreachable.
    """
    found: list[Envelope] = []
    never: list[Unreachable] = []
    nodes = {node.task_id for node in follow_ups.nodes}
    for envelope in follow_ups.envelopes:
        try:
            found += store.resolve([envelope])
        except QueueNotFound as error:
            log_lines.errback_not_sent(envelope, envelope.headers.get("parent_id"), error)
            if envelope.task_id in nodes:
                never += followups.unreachable_of(FollowUps([envelope]))
    return replace(follow_ups, envelopes=found, unreachable=[*follow_ups.unreachable, *never])
