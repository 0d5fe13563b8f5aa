"""Workflows: what follows from the ends of tasks that belong to chains, groups and chords.

Called in the transactions of ``settle``, ``revoke`` and ``recover`` for the ends that
are linked and no others: ordinary tasks cost nothing here. Members count once, when their
runs become final; whoever counts the last one sends the body, and the first that fails
ends the body and all behind it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

from django.db.models import F

from taskq import states
from taskq.engines import Engine
from taskq.models import Group, Node, TaskRun
from taskq.records import FROM_ROWS, Dependent, Envelope, NewGroup, NewNode, Sequel, Settlement
from taskq.workflows.cascade import after, headers_before, in_place_of

from .enqueue import follow, insert_runs, names_of, wake
from .finalize import write

_REVOKED = '{"exc_type": "TaskRevokedError", "exc_message": ["revoked"], "exc_module": "celery.exceptions"}'
T = TypeVar("T")
Value = tuple[str | None, str]


class Planner(Protocol):
    """What knows signatures, which the store does not: ``taskq.workflows.followups``."""

    def body_due(self, body: str, values: Sequence[Value], root_id: str, parent_id: str) -> Sequel:
        """Return what sends a chord's body with its members' values (text, content type).

        ``error`` says why that can't be done; ``dependents`` are then what never runs.
        """

    def body_failed(self, body: str, error: str) -> Sequel:
        """Return what never runs when ``body`` fails with ``error``, and the messages of its errbacks."""

    def message_ended(self, message: Any, state: str, error: str) -> Sequel:
        """Return what never runs because the task of ``message``, a row, ended without running, and its errbacks."""


def planner() -> Planner:
    """Return the planner. By name: its room lies above this one, and who has no workflow never loads it."""
    return cast(Planner, import_module("taskq.workflows.followups"))


def is_linked(s: Settlement) -> bool:
    """Tell whether more than the task itself depends on this end. A retry is none."""
    return (s.member or bool(s.follow_ups or s.dependents)) and s.state != states.RETRY


def with_sequel(s: Settlement, message: Any) -> Settlement:
    """Complete the settlement of a task that ended without a run: what its ``message`` says was to follow."""
    sequel = planner().message_ended(message, s.state, s.result or "{}")
    s.group_id, s.member = sequel.group_id or s.group_id, bool(sequel.group_id)
    s.dependents, s.follow_ups = tuple(sequel.dependents), tuple(sequel.envelopes)
    s.groups, s.nodes = tuple(sequel.groups), tuple(sequel.nodes)
    return s


# -- rows of new workflows


def insert(engine: Engine, groups: Iterable[NewGroup], nodes: Iterable[NewNode], *, reset: bool = False) -> None:
    """Write groups and nodes in the transaction that there is.

    With ``reset``, for a workflow that its caller sends, nodes that an earlier sending left begin anew.
    """
    new = {g.group_id: _group_row(g) for g in groups if not g.added}
    for chunk in _chunks(engine, [new[group_id] for group_id in sorted(new)]):
        engine.insert_groups(chunk)
    # One row for an id: no statement meets a row twice.
    for nodes_chunk in _chunks(engine, list({n.task_id: n for n in nodes}.values())):
        there = frozenset() if reset else _there(engine, nodes_chunk)
        if missing := [_node_row(n) for n in nodes_chunk if n.task_id not in there]:
            engine.insert_nodes(missing, reset=reset)


def _there(engine: Engine, nodes: Sequence[NewNode]) -> frozenset[str]:
    """Return the ids of nodes that the workflow's sender has written already: most are, and reading is cheaper."""
    rows = Node.objects.using(engine.alias).filter(task_id__in=[n.task_id for n in nodes])
    return frozenset(rows.values_list("task_id", flat=True))


def forget_before(engine: Engine, task_ids: Sequence[str]) -> None:
    """Delete how tasks ended that are to run later, from an earlier sending under the same ids."""
    for chunk in _chunks(engine, task_ids):
        rows = TaskRun.objects.using(engine.alias).filter(task_id__in=chunk, state__in=states.READY_STATES)
        rows._raw_delete(engine.alias)


def _group_row(g: NewGroup) -> tuple[Any, ...]:
    return (g.group_id, g.size, g.size, False, g.body, g.root_id, g.parent_id or "")


def _node_row(n: NewNode) -> tuple[Any, ...]:
    return (n.root_id, n.task_id, n.name, n.kind, n.group_id, n.position, n.waits_for, False, False, "")


def _chunks(engine: Engine, rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + engine.chunk] for start in range(0, len(rows), engine.chunk))


# -- ends


def end(engine: Engine, settlements: Sequence[Settlement]) -> list[str]:
    """Write linked ends and all that follows from them; return the ids of the tasks that are final by it.

    Of a task that was final before nothing follows.
    """
    aftermath = Aftermath(engine)
    aftermath.take(settlements)
    aftermath.resolve()
    return aftermath.ended


@dataclass(slots=True)
class _Cause:
    """A member of a group that does not succeed, and its exception as data."""

    group_id: str
    task_id: str
    error: str


class Aftermath:
    """What follows from a batch of ends, in the transaction that there is.

    ``resolve`` comes last: failing bodies may be members of other groups, from the inner to the outer ones.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counted: Counter[str] = Counter()
        self._causes: list[_Cause] = []
        #: Tasks that became final.
        self.ended: list[str] = []

    def take(self, settlements: Sequence[Settlement]) -> None:
        """Write linked ends, send what follows at once, and note what counts."""
        # Of two deliveries of one task the first counts.
        settlements = list({s.task_id: s for s in reversed(settlements)}.values())
        first = write(self._engine, sorted(settlements, key=lambda s: s.task_id))
        effective = [s for s in settlements if s.task_id in first]
        self.ended += [s.task_id for s in effective if s.state in states.READY_STATES]
        self._lock_growing([g.group_id for s in effective for g in s.groups if g.added])
        for s in effective:
            self._grow(s)
            if s.nodes and s.state == states.IGNORED and s.follow_ups:
                self._take_place(s)
        self.send(
            Sequel(
                [e for s in effective for e in s.follow_ups],
                [g for s in effective for g in s.groups],
                [n for s in effective for n in s.nodes],
            )
        )
        for s in effective:
            if s.dependents:
                self.fail(self._known(s), s.result or "{}", s.root_id)
            if s.member:
                self._note(s)

    def _known(self, s: Settlement) -> Sequence[Dependent]:
        """Return the dependents of an end; where its message could not be read, what the rows say."""
        if FROM_ROWS not in s.dependents:
            return s.dependents
        nodes = Node.objects.using(self._engine.alias)
        own = nodes.filter(task_id=s.task_id).values_list("root_id", "group_id").first()
        if own is None:
            return ()
        s.group_id, s.member = own[1], bool(own[1])
        rows = list(nodes.filter(root_id=own[0]).values_list("task_id", "name", "group_id", "waits_for"))
        groups = Group.objects.using(self._engine.alias).filter(group_id__in={row[2] for row in rows})
        sent = set(groups.values_list("group_id", flat=True))
        return [Dependent(*row[:3]) for row in after(s.task_id, rows, sent)]

    def _note(self, s: Settlement) -> None:
        if s.state == states.SUCCESS:
            self._counted[s.group_id] += 1
        elif s.state != states.IGNORED or not s.follow_ups:  # one that was replaced goes on under its id
            self._causes.append(_Cause(s.group_id, s.task_id, s.result or "{}"))

    def _take_place(self, s: Settlement) -> None:
        """Have the node of a task that was replaced wait for what takes its place, and this for what was before."""
        own = Node.objects.using(self._engine.alias).filter(task_id=s.task_id)
        s.nodes = tuple(in_place_of(s.task_id, s.nodes, own.values_list("waits_for", flat=True).first() or ""))
        own.update(waits_for=next((n.waits_for for n in s.nodes if n.task_id == s.task_id), ""))

    def _lock_growing(self, group_ids: Sequence[str]) -> None:
        """Lock the groups that members join, in the order of their ids: what joins is counted by one at a time."""
        if group_ids:
            rows = Group.objects.using(self._engine.alias).filter(group_id__in=group_ids).order_by("group_id")
            list(rows.select_for_update().values_list("id"))

    def _grow(self, s: Settlement) -> None:
        """Have groups wait for members that join them: a frozen signature that is added twice is one task."""
        for group in [g for g in s.groups if g.added]:
            rows = Group.objects.using(self._engine.alias).filter(group_id=group.group_id)
            joining = {n.task_id: n for n in s.nodes if n.group_id == group.group_id}
            again = _there(self._engine, [*joining.values()])
            size = len(joining) - len(again)
            rows.update(size=F("size") + size, remaining=F("remaining") + size)
            insert(self._engine, (), joining.values())
            if again:
                # Their headers may be complete, and must not begin anew: nobody would count them.
                over = headers_before(again, s.nodes)
                s.groups = tuple(g for g in s.groups if g.group_id not in over)

    def send(self, sequel: Sequel) -> None:
        """Write what follows: groups, nodes, runs and messages, but for those revoked or over before they were sent."""
        insert(self._engine, sequel.groups, sequel.nodes)
        for group in sequel.groups:
            if group.size and not group.added:
                self._count_revoked(group.group_id)
        for chunk in _chunks(self._engine, sequel.envelopes):
            over = self._over(chunk)
            going = [e for e in chunk if e.task_id not in over]
            if going:
                insert_runs(self._engine, [e for e in going if e.tracked])
                follow(self._engine, going)
        wake(self._engine, names_of(sequel.envelopes))

    def _count_revoked(self, group_id: str) -> None:
        """Count the members of a new group that were revoked before there was a group to count them.

        All are locked: whoever revokes one from now on finds the group.
        """
        nodes = Node.objects.using(self._engine.alias).select_for_update().filter(group_id=group_id)
        rows = nodes.order_by("task_id").values_list("task_id", "revoked")
        self._causes += [_Cause(group_id, task_id, _REVOKED) for task_id, revoked in rows if revoked]

    def _over(self, envelopes: Sequence[Envelope]) -> set[str]:
        """Return which tasks were revoked already, or have ended and left no run that would say so.

        Locked, so that one who revokes sees a message or we the mark.
        """
        if not envelopes:
            return set()
        nodes = Node.objects.using(self._engine.alias).select_for_update().order_by("task_id")
        rows = nodes.filter(task_id__in=[e.task_id for e in envelopes]).values_list("task_id", "revoked", "state")
        return {task_id for task_id, revoked, state in rows if revoked or state}

    def fail(self, dependents: Sequence[Dependent], error: str, root_id: str = "", but: str = "") -> set[str]:
        """Write the end of tasks that never run, and return which were not final; members count in their groups."""
        if not dependents:
            return set()
        now = self._engine.now()
        # One may be there twice, for a message and for a chain that leads to it: it counts once.
        dependents = list({d.task_id: d for d in dependents}.values())
        ends = {d.task_id: _never(d, error, root_id, now) for d in dependents}
        final: set[str] = set()
        for chunk in _chunks(self._engine, [ends[task_id] for task_id in sorted(ends)]):
            final |= self._engine.end_runs(chunk)
        self.ended += sorted(final)
        self._causes += [
            _Cause(d.group_id, d.task_id, error)
            for d in dependents
            if d.task_id in final and d.group_id and d.group_id != but
        ]
        return final

    # -- groups

    def resolve(self) -> None:
        """Count members; send the bodies that are due and fail those that never will be."""
        while self._counted or self._causes:
            counted, causes = self._counted, self._causes
            self._counted, self._causes = Counter(), []
            first: dict[str, _Cause] = {}
            for cause in causes:
                counted[cause.group_id] += 1
                first.setdefault(cause.group_id, cause)
            due, broken = self._count(counted, first)
            if due or broken:
                self._finish(due, broken, first)

    def _count(self, counted: Counter[str], failing: dict[str, _Cause]) -> tuple[list[str], list[str]]:
        """Return the ids of the groups that are complete now, and of those that failed now."""
        rows = Group.objects.using(self._engine.alias).select_for_update().filter(group_id__in=sorted(counted))
        found = list(rows.order_by("group_id").values_list("group_id", "remaining", "failed"))
        changed = [
            (remaining - counted[group_id], failed or group_id in failing, group_id)
            for group_id, remaining, failed in found
        ]
        if changed:
            self._engine.count_groups(changed)
        due = [group_id for remaining, failed, group_id in changed if remaining == 0 and not failed]
        broken = [group_id for group_id, _, failed in found if group_id in failing and not failed]
        return due, broken

    def _finish(self, due: Sequence[str], broken: Sequence[str], causes: dict[str, _Cause]) -> None:
        rows = Group.objects.using(self._engine.alias).filter(group_id__in=[*due, *broken])
        for group_id, body, root_id, parent_id in rows.order_by("group_id").values_list(
            "group_id", "body", "root_id", "parent_id"
        ):
            if body is None:
                continue
            if group_id in broken:
                cause = causes[group_id]
                self._break(group_id, body, root_id, _dependency_error(cause.task_id, cause.error))
            else:
                self._complete(group_id, body, root_id, parent_id)
        # It is needed no more, and may hold arguments that are nobody else's business.
        Group.objects.using(self._engine.alias).filter(group_id__in=[*due, *broken]).update(body=None)

    def _complete(self, group_id: str, body: str, root_id: str, parent_id: str) -> None:
        members = self._engine.members(group_id)
        gone = next((m[0] for m in members if m[1] != states.SUCCESS), None)
        if gone is not None:
            self._break(group_id, body, root_id, _chord_error(f"The result of dependency {gone} is gone"))
            return
        values = [(result, content_type or "") for _, _, result, content_type, _ in members]
        sequel = planner().body_due(body, values, root_id, parent_id)
        if sequel.error is None:
            self.send(sequel)
        else:
            self._break(group_id, body, root_id, sequel.error)
        self._drop([m[0] for m in members if m[4]])

    def _break(self, group_id: str, body: str, root_id: str, error: str) -> None:
        sequel = planner().body_failed(body, error)
        final = self.fail(sequel.dependents, error, root_id, but=group_id)
        if sequel.dependents and sequel.dependents[0].task_id in final:
            # Nobody revoked the body before: its errbacks hear of it.
            self.send(sequel)

    def _drop(self, ignored: Sequence[str]) -> None:
        """Delete rows that were kept for the body only."""
        if ignored:
            TaskRun.objects.using(self._engine.alias).filter(task_id__in=ignored)._raw_delete(self._engine.alias)
            Node.objects.using(self._engine.alias).filter(task_id__in=ignored).update(state=states.SUCCESS)


def _never(d: Dependent, error: str, root_id: str, now: float) -> Settlement:
    return Settlement(
        message_id=0,
        task_id=d.task_id,
        state=states.FAILURE,
        name=d.name,
        result=error,
        finished=now,
        tracked=False,
        root_id=root_id,
        group_id=d.group_id,
    )


# -- errors as data


def _dependency_error(task_id: str, error: str) -> str:
    return _chord_error(f"Dependency {task_id} raised {_repr_of(error)}")


def _chord_error(text: str) -> str:
    return json.dumps({"exc_type": "ChordError", "exc_message": [text], "exc_module": "celery.exceptions"})


def _repr_of(error: str) -> str:
    """Return the ``repr`` of an exception that is given as data."""
    try:
        data = json.loads(error)
        arguments = data["exc_message"]
    except (ValueError, KeyError, TypeError):
        return error
    shown = ", ".join(map(repr, arguments if isinstance(arguments, list) else [arguments]))
    return f"{data['exc_type']}({shown})"
