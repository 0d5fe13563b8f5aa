"""Advances workflows: members are counted, bodies are sent, failures reach the dependents.

The algorithm works on a port (``port.WorkflowStore``). Only ``linked`` settlements come here.

A member counts once, when its run becomes final. The end that counts the last member sends the body; the first member
that does not succeed ends the body and all of its dependents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskq import states
from taskq.conf import settings
from taskq.exceptions import ChordError, SignatureMismatch, TaskRevokedError
from taskq.messages.exception_data import cut_for_many, encode_exception, repr_of
from taskq.messages.parking import home
from taskq.records import LOOK_UP_IN_ROWS, End, Envelope, FollowUps, Settlement, Unreachable

from . import cascade, errbacks, followups, large_bodies, log_lines, rests
from .parts import Cause, Pending, is_part, read_part, sent_singly
from .port import Body, GroupCount, WorkflowStore
from .sendable import failed_instead, sendable_errbacks, sent_before
from .unreachable import UnreachableTasks

#: The result of a task that was revoked.
REVOKED_RESULT = encode_exception(TaskRevokedError("revoked"))


def advance(store: WorkflowStore, settlements: Sequence[Settlement]) -> list[str]:
    """Write linked ends and their follow-ups, but for tasks that had ended before; return the ids of the others."""
    batch = Advance(store)
    batch.end_tasks(settlements)
    batch.finish_groups()
    return batch.ended


def work_off(store: WorkflowStore, pending: Pending) -> list[str]:
    """Send or fail the next part of follow-ups; return the ids of the tasks that ended."""
    batch = Advance(store)
    if (cause := pending.cause) is None:
        batch.send_part(pending)
    else:
        batch.fail_part(pending.key, cause)
    batch.finish_groups()
    return batch.ended


def work_off_singly(store: WorkflowStore, pending: Pending, error: str) -> list[str]:
    """Work off a part that the database refuses: each of its messages becomes a part, and one that is alone fails.

    ``error`` is the exception as data with which it fails. Raises if the part can't be read, or has none to send.
    """
    batch = Advance(store)
    batch.send_singly(pending, error)
    batch.finish_groups()
    return batch.ended


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
        #: For each group the queue of a task that counts in it or sends it: its workers know the tasks of the workflow.
        self._queues: dict[str, str] = {}
        self._failures: list[_MemberFailure] = []
        #: The work that is too much for this transaction: a later one goes on with it.
        self._pending: list[Pending] = []
        self._unreachable = UnreachableTasks(store, self._pending)
        #: Tasks that became final.
        self.ended: list[str] = []

    def end_tasks(self, settlements: Sequence[Settlement]) -> None:
        """Write linked ends, send their follow-ups, and note which members count."""
        # Of two deliveries of one task the first counts.
        by_id = {s.task_id: s for s in reversed(settlements)}
        batch = [self._without_sent_tasks(by_id[task_id]) for task_id in sorted(by_id)]
        newly_ended = self._store.finalize(batch)
        effective = large_bodies.first_ends(self._store, [s for s in batch if s.task_id in newly_ended])
        self.ended += [s.task_id for s in effective if s.state in states.READY_STATES]
        self._grow(effective)
        if begun := [rest.key for s in effective for rest in s.follow_ups.rests]:
            self._store.clear_bodies(begun)
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
        return failed_instead(self._store, s, sent_before(sent), already_sent=sent)

    def _grow(self, settlements: Sequence[Settlement]) -> None:
        sizes: Counter[str] = Counter()
        for s in settlements:
            sizes.update({group.group_id: group.size for group in s.follow_ups.groups if group.added})
        if sizes:
            self._store.grow(sizes)

    def _follow_ups_of(self, s: Settlement) -> FollowUps:
        """Return the follow-ups of an end. The nodes of a replacement go between the task and its predecessor.

        The errbacks of a large body that fails are called if its first task fails now.
        """
        if s.name == large_bodies.TASK and not (large_bodies.is_sent(s) or self._fail_first_task(s)):
            return FollowUps(groups=s.follow_ups.groups)
        if s.end is not End.REPLACED or not s.follow_ups.nodes:
            return s.follow_ups
        nodes = cascade.replacement_nodes(s.task_id, s.follow_ups.nodes, self._store.predecessor(s.task_id))
        self._store.set_predecessor(s.task_id, next((n.waits_for for n in nodes if n.task_id == s.task_id), ""))
        return replace(s.follow_ups, nodes=nodes)

    def _end_dependents(self, s: Settlement) -> None:
        """Fail the dependents of a task that did not succeed; note the task for its group."""
        is_body, cause = s.name == large_bodies.TASK, _cause_of(s)
        unreachable, group_of_node = self._unreachable.of(s.follow_ups.unreachable, cause)
        first_part = self._unreachable.first_part(unreachable, cause)
        self._fail(first_part, cause, s.queue)
        for sent in s.follow_ups.groups:
            self._note_queue(sent.group_id, s.queue)
        group_id = group_of_node or (s.group_id if s.member else "")
        if group_id and not (s.replaced or is_body):
            self._note_member(s, group_id)

    def _note_member(self, s: Settlement, group_id: str) -> None:
        self._note_queue(group_id, s.queue)
        if s.state == states.SUCCESS:
            self._counted[group_id] += 1
            self._last[group_id] = s.task_id
        else:
            self._failures.append(_MemberFailure(group_id, s.task_id, s.result or "{}"))

    def _fail_first_task(self, s: Settlement) -> bool:
        """Fail the first task of a large body; tell whether it had not ended before, as by being revoked."""
        return bool(self._fail(s.follow_ups.unreachable[:1], _cause_of(s), s.queue))

    def fail_part(self, key: str, cause: Cause) -> None:
        """Fail the tasks in the next part, or rest. If all of a rest had ended, it refers to itself: the work ends."""
        unreachable, _ = self._unreachable.of([Unreachable(key, rests.NAME)], cause)
        if not (self._fail(unreachable, cause) or is_part(key)):
            self._pending.clear()

    def send_part(self, pending: Pending) -> None:
        """Send the messages in the next part."""
        for body in self._store.take_bodies([pending.key]):
            follow_ups, key = read_part(body.body)
            self.send(follow_ups)
            self._note_pending(pending, key)

    def send_singly(self, pending: Pending, error: str) -> None:
        """Make parts of the messages in the next part, or fail the only one. Nodes that are refused are left out."""
        if pending.error is not None:
            raise ValueError("These tasks fail already.")
        for body in self._store.take_bodies([pending.key]):
            follow_ups, key = read_part(body.body)
            if len(follow_ups.envelopes) == 1:
                self._fail_message(follow_ups.envelopes[0], error, pending.root_id)
            elif follow_ups.envelopes:
                rows, key = sent_singly(follow_ups, pending, key)
                self._store.insert(rows, ())
            self._note_pending(pending, key)

    def _note_pending(self, pending: Pending, key: str) -> None:
        """Note the next part of ``pending``, if there is one."""
        if key:
            self._pending.append(replace(pending, key=key))

    def _fail_message(self, e: Envelope, error: str, root_id: str) -> None:
        """Fail the task of a message that can't be written, and its dependents."""
        log_lines.message_not_written(e)
        cause = Cause(error, root_id, e.task_id)
        unreachable, _ = self._unreachable.of(followups.unreachable_of(FollowUps([e])), cause)
        # The database may have refused the name.
        shown = [replace(each, name=each.name[:255].replace("\x00", "")) for each in unreachable]
        self._fail(shown, cause)

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

    def _fail(self, unreachable: Sequence[Unreachable], cause: Cause, queue: str = "") -> set[str]:
        """Write the failures of tasks that never run; return the ids of those that had not ended before.

        Members count in their groups; a body is no member of its group. ``queue`` is that of the task that failed.
        """
        # A message and a chain may both lead to a task: it counts once.
        by_id = {each.task_id: each for each in unreachable if each != LOOK_UP_IN_ROWS}
        if not by_id:
            return set()
        cause = replace(cause, error=cut_for_many(cause.error, len(by_id)))
        final = self._store.fail([_failure(by_id[task_id], cause) for task_id in sorted(by_id)])
        self.ended += sorted(final)
        for each in by_id.values():
            if each.task_id in final and each.group_id:
                self._failures.append(_MemberFailure(each.group_id, each.task_id, cause.error))
                self._note_queue(each.group_id, queue)
        return final

    def _note_queue(self, group_id: str, queue: str) -> None:
        if queue:
            self._queues.setdefault(group_id, queue)

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
        if self._pending:
            self._store.write_pending([pending.row for pending in self._pending])

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
        for body in self._bodies_of(group_ids, failures):
            failure = failures.get(body.group_id)
            error = None
            if failure is not None:
                error = encode_exception(ChordError.by_member(failure.task_id, repr_of(failure.error)))
            if body.large and self._send_body_task(body, error):
                continue
            if error is not None:
                self._fail_body(body, error)
            elif not body.body:
                self._fail_body(body, encode_exception(followups.ALTERED_BODY))
            else:
                self._send_body(body)

    def _send_body_task(self, body: Body, error: str | None) -> bool:
        """Send the task that sends or fails a large body; tell whether it was sent.

        If no queue of the workflow is known, a body that is to fail does so here, by its nodes.
        """
        queue = home(self._queues.get(body.group_id, "")) or self._store.queue_of(body.group_id)
        if not queue and error is not None:
            self._store.end_bodies({body.group_id: True})
            return False
        self.send(large_bodies.message(body, error, self._last.get(body.group_id, ""), queue or settings.DEFAULT_QUEUE))
        return True

    def _bodies_of(self, group_ids: Sequence[str], failures: Collection[str]) -> list[Body]:
        """Return the bodies of groups that are complete, or have failed, in the order of the groups' ids."""
        complete = [group_id for group_id in group_ids if group_id not in failures]
        failed = [group_id for group_id in group_ids if group_id in failures]
        found = self._complete_bodies(complete) if complete else []
        return sorted([*found, *self._store.failed_bodies(failed, large_bodies.MOST_BYTES)] if failed else found)

    def _complete_bodies(self, group_ids: Sequence[str]) -> list[Body]:
        """Return the bodies of complete groups, and clear them but for those that are large with their values."""
        found = self._store.bodies(group_ids, large_bodies.MOST_BYTES)
        small = [b.group_id for b in found if not b.large and b.size <= large_bodies.MOST_MEMBERS]
        if small:
            small = [*{*small}.difference(self._store.with_large_values(small, large_bodies.MOST_BYTES))]
            self._store.clear_bodies(small)
        return [body._replace(large=body.group_id not in small) for body in found]

    def _send_body(self, body: Body) -> None:
        kept: list[str] = []
        try:
            members = self._store.members(body.group_id)
            found = followups.of_body(body, members, self._last[body.group_id], kept)
            found = replace(found, envelopes=self._store.resolve(found.envelopes))
        except (SignatureMismatch, ChordError) as error:
            self._fail_body(body, encode_exception(error))
        except Exception as error:
            if self._store.must_raise(error):
                raise
            log_lines.chord_body_not_sent(body.root_id)
            self._fail_body(body, encode_exception(error))
        else:
            self.send(found)
        if kept:
            self._store.drop_values(kept)

    def _fail_body(self, body: Body, error: str) -> None:
        queue = home(self._queues.get(body.group_id, ""))
        found = FollowUps()
        if body.body:
            found = followups.of_failed_body(body.body, error, errbacks.planned_outside, queue)
        cause = Cause(error, body.root_id, body.group_id, may_run_again=True)
        # If the body can't be read, the nodes say which tasks wait for the group.
        unreachable, _ = self._unreachable.of(found.unreachable or [LOOK_UP_IN_ROWS], cause)
        found = sendable_errbacks(self._store, replace(found, unreachable=unreachable))
        final = self._fail(found.unreachable, cause, queue)
        if found.unreachable and found.unreachable[0].task_id in final:
            # The body was not revoked before: its errbacks are called.
            self.send(found)


def _cause_of(s: Settlement) -> Cause:
    may_run_again = s.state == states.FAILURE or s.name == large_bodies.TASK
    return Cause(s.result or "{}", s.root_id, s.task_id, may_run_again)


def _failure(task: Unreachable, cause: Cause) -> Settlement:
    fields: dict[str, Any] = {"tracked": False, "root_id": cause.root_id, "group_id": task.group_id}
    return Settlement(0, task.task_id, states.FAILURE, task.name, result=cause.error, **fields)


def revoked(message_id: int, task_id: str, name: str, **fields: Any) -> Settlement:
    """The task was revoked before it ran; ``message_id`` is 0 if it was not sent."""
    return Settlement(message_id, task_id, states.REVOKED, name, result=REVOKED_RESULT, **fields)
