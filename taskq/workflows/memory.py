"""Workflows in dictionaries: a ``workflows.port.WorkflowStore`` for eager calls and for tests in memory.

The caller keeps the runs of tasks, and lets only one thread in at a time.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from taskq.messages.protocol import RawMessage
from taskq.records import End, Envelope, NewGroup, NewNode, Settlement

from .advance import advance, revoked
from .cascade import NodePosition, cascade, unreachable_after
from .port import Body, Dependents, GroupCount, Member
from .sendable import sendable


class Runs(ABC):
    """The runs of tasks, by their ids."""

    @abstractmethod
    def is_final(self, task_id: str) -> bool:
        """Tell whether the run of a task is final."""

    @abstractmethod
    def write(self, settlement: Settlement) -> None:
        """Write the end of a task."""

    @abstractmethod
    def value(self, task_id: str) -> tuple[str, str | None, str] | None:
        """Return the state, result and content type of a run, ``None`` if there is no run."""

    @abstractmethod
    def delete(self, task_id: str) -> None:
        """Delete a run."""

    @abstractmethod
    def message(self, settlement: Settlement) -> RawMessage | None:
        """Return the message of the task that has ended."""

    @abstractmethod
    def send(self, envelope: Envelope) -> None:
        """Send a follow-up."""


@dataclass(slots=True)
class _Group:
    new: NewGroup
    remaining: int
    failed: bool = False
    body: str | None = None


class MemoryWorkflows:
    """Groups and nodes in memory; see ``WorkflowStore``."""

    #: No work is left pending: no worker would do it.
    most_dependents = sys.maxsize

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.message = runs.message
        self.groups: dict[str, _Group] = {}
        self.nodes: dict[str, NewNode] = {}
        #: Tasks that were revoked before they were sent.
        self._revoked: set[str] = set()
        #: Tasks whose results are kept for the body of their chord only.
        self._kept_for_body: set[str] = set()
        #: Tasks that have ended and keep no run.
        self.ended: set[str] = set()

    # -- of the caller

    def start(self, groups: Iterable[NewGroup], nodes: Iterable[NewNode]) -> None:
        """Insert the groups and nodes of a workflow that is sent; nodes of an earlier sending are replaced."""
        nodes = list(nodes)
        for node in nodes:
            if self._runs.is_final(node.task_id):
                self._runs.delete(node.task_id)
            self.nodes.pop(node.task_id, None)
            self._revoked.discard(node.task_id)
            self.ended.discard(node.task_id)
        self.insert(groups, nodes)

    def settle(self, *settlements: Settlement) -> None:
        """Write the ends of tasks, and send their follow-ups, as one transaction of a database does."""
        linked = []
        for settlement in [sendable(self, s) for s in settlements]:
            if settlement.linked:
                linked.append(settlement)
                continue
            if not self._is_over(settlement.task_id):
                self._write(settlement)
            for envelope in settlement.follow_ups.envelopes:
                self._runs.send(envelope)
        if linked:
            advance(self, linked)

    def known(self) -> set[str]:
        """Return the ids of all tasks and groups."""
        return {*self.nodes, *self.groups, *(node.group_id for node in self.nodes.values())}

    def member_ids(self, group_id: str) -> list[str]:
        """Return the ids of a group's tasks in the order of their positions."""
        found = [node for node in self.nodes.values() if node.group_id == group_id]
        return [node.task_id for node in sorted(found, key=lambda node: node.position)]

    def cascade(self, wanted: Collection[str], sent: Collection[str]) -> tuple[set[str], set[str]]:
        """Return the ids that are revoked with ``wanted``, and among them the unsent ones, which are marked now."""
        places = [NodePosition(n.task_id, n.group_id, n.waits_for, n.kind) for n in self.nodes.values()]
        reached = {*wanted, *cascade(places, wanted, sent)}
        unsent = (reached & self.nodes.keys()).difference(sent)
        self._revoked |= unsent
        return reached, unsent

    def revoked(self, task_id: str) -> Settlement:
        """The task was revoked before it was sent."""
        node = self.nodes[task_id]
        return revoked(0, task_id, node.name, group_id=node.group_id, member=bool(node.group_id))

    # -- of ``Advance``

    def resolve(self, envelopes: Sequence[Envelope]) -> Sequence[Envelope]:
        """Return the messages as they are: there are no exchanges in memory."""
        return envelopes

    def must_raise(self, error: Exception) -> bool:
        """No database can fail here."""
        return False

    def finalize(self, settlements: Sequence[Settlement]) -> set[str]:
        first = [s for s in settlements if not self._is_over(s.task_id)]
        for settlement in first:
            if settlement.end is End.KEPT_FOR_BODY:
                self._kept_for_body.add(settlement.task_id)
                settlement = replace(settlement, keep=True)
            self._write(settlement)
        return {s.task_id for s in first}

    def fail(self, settlements: Sequence[Settlement]) -> set[str]:
        return self.finalize(settlements)

    def _is_over(self, task_id: str) -> bool:
        return task_id in self.ended or self._runs.is_final(task_id)

    def _write(self, settlement: Settlement) -> None:
        task_id = settlement.task_id
        self._runs.write(settlement)
        if task_id in self.nodes and not settlement.unfinished and not self._runs.is_final(task_id):
            self.ended.add(task_id)

    def send(self, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            if envelope.task_id not in self._revoked and envelope.task_id not in self.ended:
                self._runs.send(envelope)

    def insert(self, groups: Iterable[NewGroup], nodes: Iterable[NewNode], new: Collection[str] = ()) -> None:
        for group in groups:
            known = self.groups.get(group.group_id)
            if not group.added and (known is None or known.remaining <= 0):
                self.groups[group.group_id] = _Group(group, group.size, body=group.body)
        for node in nodes:
            self.nodes.setdefault(node.task_id, node)

    def write_pending(self, groups: Sequence[NewGroup]) -> None:
        """Nothing is too much for one transaction in memory: no work is left pending."""
        raise NotImplementedError

    def known_nodes(self, task_ids: Collection[str]) -> frozenset[str]:
        return frozenset(task_ids) & self.nodes.keys()

    def predecessor(self, task_id: str) -> str:
        node = self.nodes.get(task_id)
        return node.waits_for if node else ""

    def set_predecessor(self, task_id: str, waits_for: str) -> None:
        if task_id in self.nodes:
            self.nodes[task_id] = replace(self.nodes[task_id], waits_for=waits_for)

    def dependents(self, task_id: str) -> Dependents:
        own = self.nodes.get(task_id) or next((n for n in self.nodes.values() if n.group_id == task_id), None)
        if own is None:
            return Dependents()
        nodes = [node for node in self.nodes.values() if node.root_id == own.root_id]
        return Dependents(own.group_id, unreachable_after(task_id, nodes, self.groups))

    def grow(self, sizes: Mapping[str, int]) -> None:
        for group_id in sizes.keys() & self.groups.keys():
            self.groups[group_id].remaining += sizes[group_id]

    def revoked_members(self, group_id: str) -> Sequence[str]:
        return [task_id for task_id in self.member_ids(group_id) if task_id in self._revoked]

    def counts(self, group_ids: Collection[str]) -> Sequence[GroupCount]:
        found = [(group_id, self.groups[group_id]) for group_id in sorted(group_ids) if group_id in self.groups]
        return [GroupCount(group_id, group.remaining, group.failed) for group_id, group in found]

    def set_counts(self, counts: Sequence[GroupCount]) -> None:
        for group_id, remaining, failed in counts:
            self.groups[group_id].remaining, self.groups[group_id].failed = remaining, failed

    def bodies(self, group_ids: Collection[str], most: int | None = None) -> Sequence[Body]:
        found = [(group_id, self.groups[group_id]) for group_id in sorted(group_ids) if group_id in self.groups]
        return [
            # Without the size: no body is large here.
            Body(group_id, group.body, group.new.root_id, group.new.parent_id)
            for group_id, group in found
            if group.body is not None
        ]

    def take_bodies(self, group_ids: Collection[str]) -> Sequence[Body]:
        bodies = self.bodies(group_ids)
        self.clear_bodies([body.group_id for body in bodies])
        return bodies

    def failed_bodies(self, group_ids: Collection[str], most: int | None = None) -> Sequence[Body]:
        return self.take_bodies(group_ids)

    def clear_bodies(self, group_ids: Collection[str]) -> None:
        for group_id in group_ids:
            self.groups[group_id].body = None

    def with_large_values(self, group_ids: Collection[str], most: int) -> Collection[str]:
        """No process is spared here: there is one."""
        return ()

    def waiting_bodies(self, group_ids: Collection[str]) -> Mapping[str, bool]:
        return {}

    def end_bodies(self, group_ids: Mapping[str, bool]) -> None:
        """No body waits here."""

    def queue_of(self, group_id: str) -> str:
        return ""

    def members(self, group_id: str) -> Sequence[Member]:
        found = []
        for task_id in self.member_ids(group_id):
            state, result, content_type = self._runs.value(task_id) or (None, None, None)
            found.append(Member(task_id, state, result, content_type, task_id in self._kept_for_body))
        return found

    def drop_values(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            self._runs.delete(task_id)
            self.ended.add(task_id)
