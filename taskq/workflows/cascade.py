"""Finds the tasks that are revoked or fail together with a task, in the nodes of its workflow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from taskq.records import NewNode, Unreachable

#: The kind of the nodes of a replacement, but for the node with the replaced task's id.
KIND_REPLACEMENT = "part"


@dataclass(slots=True, frozen=True)
class NodePosition:
    """Where a task stands in its workflow; see ``models.Node``."""

    task_id: str
    group_id: str
    waits_for: str
    kind: str = ""


def cascade(places: Iterable[NodePosition], wanted: Collection[str], sent: Collection[str]) -> set[str]:
    """Return the ids of the tasks that are revoked with ``wanted``, ids of tasks and groups.

    Forwards: all dependents; those of a group only if the group or all its members are revoked. Backwards: the
    predecessors that no other task waits for, from the end of a workflow (its result's id revokes all of it), and in a
    replacement from its last task. A task that was sent has no predecessors to revoke.
    """
    workflow = _Workflow(places)
    for task_id in wanted:
        workflow.revoke(task_id)
    ends = [i for i in workflow.revoked if not workflow.waiting[i] and (i in wanted or workflow.group_of(i) in wanted)]
    while ends:
        ends = workflow.revoke_before(ends, sent)
    replaced = [i for i in workflow.revoked if i in wanted or workflow.group_of(i) in wanted]
    while replaced:
        replaced = workflow.revoke_before(replaced, sent, (KIND_REPLACEMENT,))
    return workflow.revoked


def dependents_first(places: Iterable[NodePosition], task_ids: Collection[str]) -> list[str]:
    """Return tasks of a workflow in an order in which each comes after its dependents."""
    workflow = _Workflow(places)
    ordered: dict[str, None] = {}
    todo = sorted(task_ids, reverse=True)
    seen: set[str] = set()
    while todo:
        task_id = todo[-1]
        if task_id in seen:
            ordered.setdefault(todo.pop())
            continue
        seen.add(task_id)
        todo += [each for each in workflow.after(task_id) if each not in seen]
    return [task_id for task_id in ordered if task_id in task_ids]


def whole_dependents_first(places: Iterable[NodePosition]) -> list[str]:
    """Return all tasks of a workflow, each after its dependents. ``places`` is read once, and not kept.

    A workflow may have millions of tasks, so they are ordered by their depths: the deepest come first.
    """
    task_ids: list[str] = []
    waits: list[str] = []
    groups: dict[str, set[str]] = defaultdict(set)
    names: dict[str, str] = {}
    for place in places:
        task_ids.append(place.task_id)
        waits.append(names.setdefault(place.waits_for, place.waits_for))
        if place.group_id:
            groups[names.setdefault(place.group_id, place.group_id)].add(waits[-1])
    tasks = {task_id: before for task_id, before in zip(task_ids, waits, strict=True) if task_id in names}
    depths = _depths(tasks, groups)
    places_in_order = sorted(range(len(task_ids)), key=lambda number: -depths.get(waits[number], 0))
    return [task_ids[number] for number in places_in_order]


def _depths(tasks: Mapping[str, str], groups: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Return the depths of the tasks and groups for which others wait.

    A depth is the length of the longest line of predecessors, with the task or group itself. ``tasks`` maps tasks to
    their predecessors, ``groups`` maps groups to those of their members.
    """
    depths = {"": 0}
    seen: set[str] = set()
    for last in [*tasks, *groups]:
        todo = [last]
        while todo:
            key = todo[-1]
            before = groups.get(key) or ([tasks[key]] if key in tasks else [])
            if key in seen:
                depths.setdefault(key, 1 + max((depths.get(each, 0) for each in before), default=0))
                todo.pop()
            else:
                seen.add(key)
                # In foreign nodes a task may wait for itself.
                todo += [each for each in before if each not in seen and each not in depths]
    return depths


def replacement_nodes(task_id: str, nodes: Iterable[NewNode], before: str) -> list[NewNode]:
    """Return the nodes of a replacement; its first tasks wait for ``before``, the replaced task's predecessor."""
    return [
        replace(
            node,
            kind=node.kind if node.task_id == task_id else KIND_REPLACEMENT,
            waits_for=node.waits_for or before,
        )
        for node in nodes
    ]


class _Node(Protocol):
    """A node as ``unreachable_after`` reads it: a row's place, or a node in memory."""

    @property
    def task_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def group_id(self) -> str: ...
    @property
    def waits_for(self) -> str: ...


def unreachable_after(task_id: str, nodes: Iterable[_Node], sent: Collection[str]) -> list[Unreachable]:
    """Return the direct and indirect dependents of a task that has failed.

    The dependents of a group in ``sent`` are left out: its Group row decides about them.
    """
    waiting: dict[str, list[_Node]] = defaultdict(list)
    for node in nodes:
        waiting[node.waits_for].append(node)
    found: list[Unreachable] = []
    todo = [task_id]
    while todo:
        for node in waiting.pop(todo.pop(), []):
            found.append(Unreachable(node.task_id, node.name, node.group_id))
            todo += [each for each in (node.task_id, node.group_id) if each and each not in sent]
    return found


class _Workflow:
    def __init__(self, places: Iterable[NodePosition]) -> None:
        self.places = {place.task_id: place for place in places}
        self.waiting: dict[str, list[str]] = defaultdict(list)
        self.members: dict[str, list[str]] = defaultdict(list)
        for place in self.places.values():
            self.members[place.group_id].append(place.task_id)
            self.waiting[place.waits_for].append(place.task_id)
        self.members.pop("", None)
        self.waiting.pop("", None)
        self.revoked: set[str] = set()

    def group_of(self, task_id: str) -> str:
        return self.places[task_id].group_id

    def revoke(self, wanted: str) -> None:
        """Revoke a task or a group, and its dependents."""
        todo = [wanted, *self.members.get(wanted, ()), *self.waiting.get(wanted, ())]
        while todo:
            task_id = todo.pop()
            if task_id in self.revoked or task_id not in self.places:
                continue
            self.revoked.add(task_id)
            todo += self.waiting.get(task_id, ())
            group_id = self.group_of(task_id)
            if group_id in self.waiting and self.revoked.issuperset(self.members[group_id]):
                todo += self.waiting[group_id]

    def revoke_before(self, ends: Iterable[str], sent: Collection[str], kinds: Collection[str] = ()) -> list[str]:
        """Revoke predecessors of ``ends`` (of these ``kinds``) without other dependents; return their ids."""
        found: list[str] = []
        for task_id in ends:
            before = self.places[task_id].waits_for
            if not before or task_id in sent:
                continue
            for earlier in self.members.get(before) or [before]:
                if earlier not in self.places or (kinds and self.places[earlier].kind not in kinds):
                    continue
                if earlier not in self.revoked and self._is_useless(earlier):
                    self.revoked.add(earlier)
                    found.append(earlier)
        return found

    def _is_useless(self, task_id: str) -> bool:
        return self.revoked.issuperset(self.after(task_id))

    def after(self, task_id: str) -> list[str]:
        """Return the tasks that wait for a task, or for its group."""
        group_id = self.group_of(task_id)
        return [*self.waiting.get(task_id, ()), *(self.waiting.get(group_id, ()) if group_id else ())]
