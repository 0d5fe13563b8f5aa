"""What ``store.workflows`` does in the database, for ``Memory``: members are counted, bodies sent, failures passed on.

The rules are those of the store, and what is sent or will never run is planned by the
worker's own code; only what the rows of groups and nodes would hold is kept here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from taskq import states
from taskq.exceptions import ChordError, TaskRevokedError
from taskq.messages.exception_data import decode_exception, encode_exception
from taskq.records import FROM_ROWS, Dependent, Envelope, NewGroup, NewNode, Sequel, Settlement
from taskq.store import workflows as store
from taskq.workflows.cascade import Place, headers_before, in_place_of, reach

from . import rows
from .rows import Rows

#: What a task that was revoked has for a result.
REVOKED = encode_exception(TaskRevokedError("revoked"))


#: A member of a group that does not succeed: the group's id, its own, and its exception as data.
_Cause = tuple[str, str, str]


@dataclass(slots=True)
class _Group:
    """A group or header: how many members have not ended, and what is sent when none is left."""

    new: NewGroup
    remaining: int
    failed: bool = False


@dataclass(slots=True)
class Workflows:
    """The groups and nodes of a test, and what follows from ends. ``send`` keeps a message that follows.

    ``runs`` are the rows of the tasks. The caller sees to it that one thread at a time is in here.
    """

    runs: Rows
    send: Callable[[Envelope], object]
    groups: dict[str, _Group] = field(default_factory=dict)
    nodes: dict[str, NewNode] = field(default_factory=dict)
    #: Tasks that were revoked before they were sent.
    revoked: set[str] = field(default_factory=set)
    #: Tasks whose results are kept only until the body of their chord is sent.
    awaited: set[str] = field(default_factory=set)
    #: Tasks that have ended and have no row that says so.
    over: set[str] = field(default_factory=set)

    # -- what is there

    def add(self, groups: Iterable[NewGroup], nodes: Iterable[NewNode]) -> None:
        """Take the groups and nodes of a workflow that is sent; what was there of the ids begins anew."""
        nodes = list(nodes)
        for group in groups:
            if group.added:
                there = self.groups.get(group.group_id)
                if there is not None:
                    joining = {node.task_id for node in nodes if node.group_id == group.group_id}
                    there.remaining += len(joining - self.nodes.keys())
            elif group.group_id not in self.groups or self.groups[group.group_id].remaining <= 0:
                self.groups[group.group_id] = _Group(group, group.size)
        for node in nodes:
            self.nodes[node.task_id] = node
            self.revoked.discard(node.task_id)
            self.over.discard(node.task_id)

    def members(self, group_id: str) -> list[str]:
        """Return the ids of a group's tasks in their order."""
        found = [node for node in self.nodes.values() if node.group_id == group_id]
        return [node.task_id for node in sorted(found, key=lambda node: node.position)]

    # -- ends

    def settle(self, end: Settlement) -> None:
        """Write how a task ended, and do what follows from it."""
        if not store.is_linked(end):
            self._write(end)
            for envelope in end.follow_ups:
                self.send(envelope)
        elif self._write(end):
            self._follow(end)

    def _write(self, end: Settlement) -> bool:
        """Write the end; tell whether the task was not final before."""
        if rows.is_final(self.runs, end.task_id) or end.task_id in self.over:
            return False
        if end.member and not end.keep and end.state == states.SUCCESS:
            self.awaited.add(end.task_id)
            end = replace(end, keep=True)
        rows.settle(self.runs, end)
        goes_on = end.state == states.RETRY or (end.state == states.IGNORED and end.follow_ups)
        if end.task_id in self.nodes and not goes_on and not rows.is_final(self.runs, end.task_id):
            self.over.add(end.task_id)
        return True

    def _follow(self, end: Settlement) -> None:
        goes_on = end.state == states.IGNORED and bool(end.follow_ups)
        nodes = self._in_place_of(end) if goes_on else end.nodes
        causes = list(self._send(Sequel(end.follow_ups, end.groups, nodes)))
        causes += self._never(end.dependents, end.result or "{}")
        if end.member and end.state == states.SUCCESS:
            causes += self._count(end.group_id)
        elif end.member and not goes_on:
            causes.append((end.group_id, end.task_id, end.result or "{}"))
        while causes:
            causes += self._fail(*causes.pop(0))

    def _in_place_of(self, end: Settlement) -> Sequence[NewNode]:
        """Return the nodes of what takes the place of a task, and have that wait for them."""
        there = self.nodes.get(end.task_id)
        nodes = in_place_of(end.task_id, end.nodes, there.waits_for if there else "")
        if there is not None:
            waits_for = next((node.waits_for for node in nodes if node.task_id == end.task_id), there.waits_for)
            self.nodes[end.task_id] = replace(there, waits_for=waits_for)
        return nodes

    def _send(self, sequel: Sequel) -> Iterator[_Cause]:
        """Keep what follows; yield what can't go on because it was revoked before."""
        revoked = set(self.revoked)
        joined = {group.group_id for group in sequel.groups if group.added}
        again = [node.task_id for node in sequel.nodes if node.group_id in joined and node.task_id in self.nodes]
        over = headers_before(again, sequel.nodes)
        groups = [group for group in sequel.groups if group.group_id not in over]
        self.add(groups, (node for node in sequel.nodes if node.task_id not in self.nodes))
        for group in sequel.groups:
            if not group.added:  # what was revoked before there was a group that counts it
                yield from ((group.group_id, i, REVOKED) for i in self.members(group.group_id) if i in revoked)
        for envelope in sequel.envelopes:
            if envelope.task_id not in revoked and envelope.task_id not in self.over:
                self.send(envelope)

    def _never(self, dependents: Sequence[Dependent], error: str, but: str = "") -> Iterator[_Cause]:
        """Write the end of tasks that never run; yield those that groups count, except the group ``but``."""
        for dependent in dependents:
            if dependent == FROM_ROWS:
                continue  # what a message that can't be read had behind it: here there are no rows to tell
            end = Settlement(0, dependent.task_id, states.FAILURE, dependent.name, result=error, finished=time.time())
            end.group_id = dependent.group_id
            if self._write(end) and dependent.group_id and dependent.group_id != but:
                yield dependent.group_id, dependent.task_id, error

    # -- groups

    def _count(self, group_id: str) -> Iterator[_Cause]:
        """Count a member; the last one sends the body."""
        group = self.groups.get(group_id)
        if group is None:
            return
        group.remaining -= 1
        if group.remaining == 0 and not group.failed and group.new.body is not None:
            yield from self._complete(group, group.new.body)

    def _complete(self, group: _Group, body: str) -> Iterator[_Cause]:
        members = self.members(group.new.group_id)
        runs = [self.runs[task_id].run if task_id in self.runs else None for task_id in members]
        gone = next((i for i, run in zip(members, runs, strict=True) if not run or run.state != states.SUCCESS), None)
        if gone is not None:
            error = ChordError(f"The result of dependency {gone} is gone")
            yield from self._break(group, body, encode_exception(error))
            return
        values = [(run.result, run.content_type) for run in runs if run is not None]
        sequel = store.planner().body_due(body, values, group.new.root_id, group.new.parent_id)
        yield from self._send(sequel) if sequel.error is None else self._break(group, body, sequel.error)
        for task_id in self.awaited.intersection(members):
            del self.runs[task_id]
            self.over.add(task_id)

    def _fail(self, group_id: str, task_id: str, error: str) -> Iterator[_Cause]:
        """Count a member that does not succeed; the first one ends the body."""
        group = self.groups.get(group_id)
        if group is None:
            return
        group.remaining -= 1
        first, group.failed = not group.failed, True
        if first and group.new.body is not None:
            reason = ChordError.by_member(task_id, decode_exception(error))
            yield from self._break(group, group.new.body, encode_exception(reason))

    def _break(self, group: _Group, body: str, error: str) -> Iterator[_Cause]:
        sequel = store.planner().body_failed(body, error)
        yield from self._never(sequel.dependents, error, but=group.new.group_id)
        yield from self._send(sequel)

    # -- revoking

    def reach(self, wanted: Collection[str], sent: Collection[str]) -> tuple[set[str], set[str]]:
        """Return what is revoked with ``wanted``, and what of that was never sent and is now marked as revoked."""
        places = [Place(node.task_id, node.group_id, node.waits_for, node.kind) for node in self.nodes.values()]
        reached = {*wanted, *(reach(places, wanted, sent) if places else ())}
        unsent = (reached & self.nodes.keys()).difference(sent)
        self.revoked |= unsent
        return reached, unsent

    def revoke_unsent(self, task_id: str) -> None:
        """Write the end of a task that was revoked before it was sent."""
        node = self.nodes[task_id]
        end = Settlement(0, task_id, states.REVOKED, node.name, result=REVOKED, finished=time.time(), tracked=False)
        end.group_id, end.member = node.group_id, bool(node.group_id)
        self.settle(end)
