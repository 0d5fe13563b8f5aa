"""Advances workflows: members are counted, bodies are sent, failures reach the dependents.

The algorithm works on a port (``WorkflowStore``): ``store.workflow_rows`` keeps groups, nodes and runs in the
database, ``workflows.memory`` in dictionaries. Only ``linked`` settlements come here.

A member counts once, when its run becomes final. The end that counts the last member sends the body; the first member
that does not succeed ends the body and all of its dependents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from taskq import states
from taskq.exceptions import ChordError, QueueNotFound, SignatureMismatch, TaskRevokedError
from taskq.messages.exception_data import encode_exception, repr_of
from taskq.messages.protocol import RawMessage
from taskq.records import (
    LOOK_UP_IN_ROWS,
    End,
    Envelope,
    FollowUps,
    NewGroup,
    NewNode,
    Settlement,
    Unreachable,
)

from . import cascade, followups, log_lines

#: The result of a task that was revoked.
REVOKED_RESULT = encode_exception(TaskRevokedError("revoked"))
_ALTERED_BODY = encode_exception(SignatureMismatch("The body of the chord was altered in its row: it is not run."))


class GroupCount(NamedTuple):
    """The row of a group: how many members have not ended, and whether a member has failed."""

    group_id: str
    remaining: int
    failed: bool


class Body(NamedTuple):
    """The body of a chord, as its group keeps it. ``body`` is empty if its text in the row was altered."""

    group_id: str
    body: str
    root_id: str
    parent_id: str


class Member(NamedTuple):
    """A member of a group, with its run. ``ignored``: the run is kept only until the body is sent."""

    task_id: str
    state: str | None
    result: str | None
    content_type: str | None
    ignored: bool


class WorkflowStore(Protocol):
    """The groups, nodes and runs of workflows. All calls for one batch of ends are one transaction."""

    def message(self, settlement: Settlement) -> RawMessage | None:
        """Return the message of a settlement, before it is deleted."""

    def resolve(self, envelopes: Sequence[Envelope]) -> Sequence[Envelope]:
        """Return the messages with the queues of their exchanges. Raises ``QueueNotFound``."""

    def must_raise(self, error: Exception) -> bool:
        """Tell whether ``error`` comes from the database, and not from the body of a chord."""

    def finalize(self, settlements: Sequence[Settlement]) -> set[str]:
        """Write ends; return the ids of the tasks that had not ended before."""

    def fail(self, settlements: Sequence[Settlement]) -> set[str]:
        """Write the failures of tasks that never run; return the ids of the tasks that had not ended before."""

    def send(self, envelopes: Sequence[Envelope]) -> None:
        """Send messages, but for tasks that were revoked or have ended."""

    def insert(self, groups: Iterable[NewGroup], nodes: Iterable[NewNode], new: Collection[str] = ()) -> None:
        """Write groups and nodes; nodes that exist stay. No other transaction may have written the nodes ``new``."""

    def known_nodes(self, task_ids: Collection[str]) -> Collection[str]:
        """Return the ids that have a node."""

    def predecessor(self, task_id: str) -> str:
        """Return ``waits_for`` of a node, empty if there is none."""

    def set_predecessor(self, task_id: str, waits_for: str) -> None:
        """Change ``waits_for`` of a node."""

    def dependents(self, task_id: str) -> tuple[str, Sequence[Unreachable]]:
        """Return the group and the dependents of a task or group, read from the nodes: no text names them."""

    def grow(self, sizes: dict[str, int]) -> None:
        """Add new members to the counts of groups, in the order of the groups' ids."""

    def revoked_members(self, group_id: str) -> Sequence[str]:
        """Return the members that were revoked before they were sent."""

    def counts(self, group_ids: Collection[str]) -> Sequence[GroupCount]:
        """Lock groups in the order of their ids, and return their counts."""

    def set_counts(self, counts: Sequence[GroupCount]) -> None:
        """Write the counts of groups."""

    def take_bodies(self, group_ids: Collection[str]) -> Sequence[Body]:
        """Return the bodies of groups, and clear them in the groups: no second end may send them.

        A body whose text was altered has none.
        """

    def members(self, group_id: str) -> Sequence[Member]:
        """Return the members of a group in the order of their positions. Raises if a value can't be relied on."""

    def drop_values(self, task_ids: Sequence[str]) -> None:
        """Delete the runs that were kept for the body only."""


def advance(store: WorkflowStore, settlements: Sequence[Settlement]) -> list[str]:
    """Write linked ends and their follow-ups, but for tasks that had ended before; return the ids of the others."""
    steps = Advance(store)
    steps.take(settlements)
    steps.finish_groups()
    return steps.ended


# -- before the messages are deleted


def sendable(store: WorkflowStore, s: Settlement) -> Settlement:
    """Return ``s`` with the queues of its follow-ups, or a failure in its place if a follow-up can't be sent."""
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
        return _failed_instead(store, s, error)


def _failed_instead(store: WorkflowStore, s: Settlement, error: Exception, but: Collection[str] = ()) -> Settlement:
    log_lines.follow_ups_not_sent(s, error)
    failed = followups.failed_instead(s, store.message(s), error, but)
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


# -- the ends


@dataclass(slots=True)
class _MemberFailure:
    """A member that does not succeed, and its exception as data."""

    group_id: str
    task_id: str
    error: str


class Advance:
    """One batch of ends. ``finish_groups`` comes last: failing bodies may be members of outer groups."""

    def __init__(self, store: WorkflowStore) -> None:
        self._store = store
        #: Tasks of replacements, and new members of chords: this batch sends them.
        self._new: set[str] = set()
        self._counted: Counter[str] = Counter()
        #: The last member that was counted for each group: the parent of the body.
        self._last: dict[str, str] = {}
        self._failures: list[_MemberFailure] = []
        #: Tasks that became final.
        self.ended: list[str] = []

    def take(self, settlements: Sequence[Settlement]) -> None:
        """Write linked ends, send their follow-ups, and note which members count."""
        # Of two deliveries of one task the first counts.
        by_id = {s.task_id: s for s in reversed(settlements)}
        batch = [self._without_sent_tasks(by_id[task_id]) for task_id in sorted(by_id)]
        first = self._store.finalize(batch)
        effective = [s for s in batch if s.task_id in first]
        self.ended += [s.task_id for s in effective if s.state in states.READY_STATES]
        self._grow(effective)
        self.send(FollowUps.joined(self._follow_ups_of(s) for s in effective))
        for s in effective:
            self._end_dependents(s)

    def _without_sent_tasks(self, s: Settlement) -> Settlement:
        """Return ``s``, or a failure in its place if it sends a task that was sent before: one id is one task."""
        if not (new := s.new_tasks):
            return s
        sent = self._new.intersection(new).union(self._store.known_nodes(new))
        if not sent:
            self._new.update(new)
            return s
        text = (
            f"The frozen signature with the id {min(sent)} was sent before, and one id is one task: "
            "replace() and add_to_chord() need a signature that was not sent."
        )
        return _failed_instead(self._store, s, ValueError(text), but=sent)

    def _grow(self, settlements: Sequence[Settlement]) -> None:
        sizes: Counter[str] = Counter()
        for s in settlements:
            sizes.update({group.group_id: group.size for group in s.follow_ups.groups if group.added})
        if sizes:
            self._store.grow(sizes)

    def _follow_ups_of(self, s: Settlement) -> FollowUps:
        """Return the follow-ups of an end. The nodes of a replacement go between the task and its predecessor."""
        if s.end is not End.REPLACED or not s.follow_ups.nodes:
            return s.follow_ups
        nodes = cascade.replacement_nodes(s.task_id, s.follow_ups.nodes, self._store.predecessor(s.task_id))
        self._store.set_predecessor(s.task_id, next((n.waits_for for n in nodes if n.task_id == s.task_id), ""))
        return replace(s.follow_ups, nodes=nodes)

    def _end_dependents(self, s: Settlement) -> None:
        group_id, unreachable = s.group_id if s.member else "", s.follow_ups.unreachable
        if LOOK_UP_IN_ROWS in unreachable:
            by_node, unreachable = self._store.dependents(s.task_id)
            group_id = by_node or group_id
        self._fail(unreachable, s.result or "{}", s.root_id)
        if not group_id or s.replaced:
            return
        if s.state == states.SUCCESS:
            self._counted[group_id] += 1
            self._last[group_id] = s.task_id
        else:
            self._failures.append(_MemberFailure(group_id, s.task_id, s.result or "{}"))

    def send(self, follow_ups: FollowUps) -> None:
        """Write groups, nodes, runs and messages, but for tasks that were revoked or have ended before."""
        if follow_ups.groups or follow_ups.nodes:
            self._store.insert(follow_ups.groups, follow_ups.nodes, self._new)
        for group in follow_ups.groups:
            if group.size and not group.added:
                revoked = self._store.revoked_members(group.group_id)
                self._failures += [_MemberFailure(group.group_id, task_id, REVOKED_RESULT) for task_id in revoked]
        if follow_ups.envelopes:
            self._store.send(follow_ups.envelopes)

    def _fail(self, unreachable: Sequence[Unreachable], error: str, root_id: str = "", but: str = "") -> set[str]:
        """Write the failures of tasks that never run; members count in their groups, except in group ``but``."""
        # A message and a chain may both lead to a task: it counts once.
        by_id = {each.task_id: each for each in unreachable}
        if not by_id:
            return set()
        final = self._store.fail([_failure(by_id[task_id], error, root_id) for task_id in sorted(by_id)])
        self.ended += sorted(final)
        self._failures += [
            _MemberFailure(each.group_id, each.task_id, error)
            for each in by_id.values()
            if each.task_id in final and each.group_id and each.group_id != but
        ]
        return final

    # -- groups

    def finish_groups(self) -> None:
        """Count members; send the bodies that are due and fail the bodies that never will be."""
        while self._counted or self._failures:
            counted, failures = self._counted, self._failures
            self._counted, self._failures = Counter(), []
            first: dict[str, _MemberFailure] = {}
            for failure in failures:
                counted[failure.group_id] += 1
                first.setdefault(failure.group_id, failure)
            self._finish(self._count(counted, first), first)

    def _count(self, counted: Counter[str], failing: Collection[str]) -> list[str]:
        """Write the counts of groups; return the ids of the groups that are complete now, or have failed now."""
        found = self._store.counts(counted)
        changed = [
            GroupCount(g.group_id, g.remaining - counted[g.group_id], g.failed or g.group_id in failing) for g in found
        ]
        if changed:
            self._store.set_counts(changed)
        return [
            new.group_id
            for old, new in zip(found, changed, strict=True)
            if not old.failed and (new.failed or new.remaining == 0)
        ]

    def _finish(self, group_ids: Sequence[str], failures: dict[str, _MemberFailure]) -> None:
        for body in self._store.take_bodies(group_ids) if group_ids else ():
            if (failure := failures.get(body.group_id)) is not None:
                error = ChordError.by_member(failure.task_id, repr_of(failure.error))
                self._fail_body(body, encode_exception(error))
            elif not body.body:
                self._fail_body(body, _ALTERED_BODY)
            else:
                self._send_body(body)

    def _send_body(self, body: Body) -> None:
        try:
            members = self._store.members(body.group_id)
        except SignatureMismatch as error:
            self._fail_body(body, encode_exception(error))
            return
        gone = next((member.task_id for member in members if member.state != states.SUCCESS), None)
        if gone is not None:
            self._fail_body(body, encode_exception(ChordError(f"The result of dependency {gone} is gone")))
            return
        try:
            values = [(member.result, member.content_type or "") for member in members]
            found = followups.of_body(body.body, values, body.root_id, self._last[body.group_id])
            found = replace(found, envelopes=self._store.resolve(found.envelopes))
        except Exception as error:
            if self._store.must_raise(error):
                raise
            log_lines.chord_body_not_sent(body.root_id)
            self._fail_body(body, encode_exception(error))
        else:
            self.send(found)
        if ignored := [member.task_id for member in members if member.ignored]:
            self._store.drop_values(ignored)

    def _fail_body(self, body: Body, error: str) -> None:
        found = followups.of_failed_body(body.body, error) if body.body else FollowUps()
        if found.unreachable:
            found = sendable_errbacks(self._store, found)
        else:
            # The body can't be read: the nodes say which tasks wait for the group.
            found = FollowUps(unreachable=self._store.dependents(body.group_id)[1])
        final = self._fail(found.unreachable, error, body.root_id, but=body.group_id)
        if found.unreachable and found.unreachable[0].task_id in final:
            # The body was not revoked before: its errbacks are called.
            self.send(found)


def _failure(task: Unreachable, error: str, root_id: str) -> Settlement:
    return Settlement(
        message_id=0,
        task_id=task.task_id,
        state=states.FAILURE,
        name=task.name,
        result=error,
        tracked=False,
        root_id=root_id,
        group_id=task.group_id,
    )


def revoked(message_id: int, task_id: str, name: str, **fields: Any) -> Settlement:
    """The task was revoked before it ran; ``message_id`` is 0 if it was not sent."""
    return Settlement(message_id, task_id, states.REVOKED, name, result=REVOKED_RESULT, **fields)
