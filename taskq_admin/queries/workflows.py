"""One workflow: its tasks, their states, the groups that count them, and why a task waits.

The nodes say what there is, sent or not; the runs say what became of it. Two queries, however large the workflow is:
at most ``MOST`` nodes are read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from taskq import states
from taskq.conf import settings
from taskq.models import Group, Node, TaskRun
from taskq.store.reading import together
from taskq_admin.badges import short

from .capped import CappedCount, capped_count

#: Nodes that a page reads at most.
MOST = 10_000
#: Workflows whose first nodes one statement reads.
_AT_ONCE = 100
#: The state of a task that was not sent yet.
NOT_SENT = "NOT SENT"
#: The parts of a progress bar, in their order, and the states in them. All others run.
DONE, FAILED, RUNNING, WAITING = PARTS = "done", "failed", "running", "waiting"
_PARTS = {
    states.SUCCESS: DONE,
    states.IGNORED: DONE,
    states.FAILURE: FAILED,
    states.REVOKED: FAILED,
    states.PENDING: WAITING,
    NOT_SENT: WAITING,
}
_NODE = ("id", "task_id", "name", "kind", "group_id", "position", "waits_for", "revoked", "state")
_RUN = ("task_id", "pk", "state", "queue")
#: Tasks whose runs are asked for by their ids, and not by the root of their nodes.
_BY_ID = 500
#: The most digits of a row's number.
_LONGEST_NUMBER = 18


def part_of(state: str) -> str:
    """Return the part of a progress bar that a task in this state belongs to."""
    return _PARTS.get(state, RUNNING)


def state_of(counts: Mapping[str, int], more: bool) -> str:
    """Return one word for all of a workflow, from how many tasks there are of each part.

    Nothing if that can't be told: there are ``more`` tasks than were counted, and all of these have ended.
    """
    if counts.get(RUNNING):
        return states.STARTED
    if counts.get(WAITING):
        return states.PENDING
    if more:
        return ""
    return states.FAILURE if counts.get(FAILED) else states.SUCCESS


@dataclass(frozen=True, slots=True)
class Step:
    """One task of a workflow. ``pk`` is the number of its row of ``TaskRun``, ``queue`` empty if it was never sent."""

    task_id: str
    name: str
    state: str
    group_id: str = ""
    position: int = 0
    waits_for: str = ""
    is_body: bool = False
    revoked: bool = False
    queue: str = ""
    pk: int | None = None

    @property
    def part(self) -> str:
        """The part of a progress bar that it belongs to."""
        return part_of(self.state)

    @property
    def never_ran(self) -> bool:
        """Whether it has failed because what it waited for did."""
        return self.state == states.FAILURE and bool(self.waits_for) and not self.queue

    @property
    def short_name(self) -> str:
        """The last part of its name."""
        return self.name.rpartition(".")[2] or self.name or self.task_id


@dataclass(frozen=True, slots=True)
class Counted:
    """The row of a group: how many of ``size`` members have not ended."""

    size: int
    remaining: int
    failed: bool


@dataclass(frozen=True)
class Workflow:
    """A workflow, its tasks in the order in which they were written. ``more``: it has more than were read.

    ``pk`` is the number of its first node, which stands for it in Django's admin log.
    """

    root_id: str
    steps: list[Step]
    groups: Mapping[str, Counted] = field(default_factory=dict)
    more: bool = False
    pk: int | None = None

    @cached_property
    def by_id(self) -> dict[str, Step]:
        """The tasks by their ids."""
        return {step.task_id: step for step in self.steps}

    @cached_property
    def members(self) -> dict[str, list[Step]]:
        """The members of each group, in their order."""
        found: dict[str, list[Step]] = defaultdict(list)
        for step in self.steps:
            if step.group_id:
                found[step.group_id].append(step)
        for members in found.values():
            members.sort(key=lambda step: step.position)
        return dict(found)

    @cached_property
    def counts(self) -> Counter[str]:
        """How many tasks there are of each part."""
        return Counter(step.part for step in self.steps)

    @property
    def name(self) -> str:
        """The name of its first task."""
        first = self.by_id.get(self.root_id) or (self.steps[0] if self.steps else None)
        return first.name if first else ""

    @property
    def state(self) -> str:
        """One word for all of it, or nothing, as of ``state_of``."""
        return state_of(self.counts, self.more)

    @property
    def ended(self) -> bool:
        """Whether nothing of it waits or runs."""
        return not (self.counts[RUNNING] or self.counts[WAITING] or self.more)


def find(root_id: str) -> Workflow | None:
    """Return the workflow with this root, or ``None`` if it has no nodes."""
    return None if "\0" in root_id else _of_nodes(_nodes().filter(root_id=root_id))


def find_of(task_id: str) -> Workflow | None:
    """Return the workflow that a task is part of, or ``None``."""
    root = _nodes().filter(task_id=task_id).order_by("id").values("root_id")[:1]
    return None if "\0" in task_id else _of_nodes(_nodes().filter(root_id=Subquery(root)))


def _of_nodes(nodes: QuerySet[Node]) -> Workflow | None:
    rows = list(nodes.order_by("id").values_list("root_id", *_NODE)[: MOST + 1])
    if not rows:
        return None
    root_id = rows[0][0]
    more, rows = len(rows) > MOST, [row[1:] for row in rows[:MOST]]
    found, counted = together(_runs(root_id, rows), _groups({row[4] for row in rows} - {""}))
    runs = {row[0]: row for row in found}
    steps = [_step(row, runs.get(row[1])) for row in rows]
    return Workflow(root_id, steps, {row[0]: Counted(*row[1:]) for row in counted}, more, rows[0][0])


def _nodes() -> QuerySet[Node]:
    return Node.objects.using(settings.DATABASE)


def created(found: Workflow) -> datetime | None:
    """Return when the first node of a workflow was written."""
    return _nodes().filter(task_id=found.steps[0].task_id).values_list("created_at", flat=True).first()


def times(steps: Iterable[Step]) -> dict[str, tuple[datetime | None, float | None]]:
    """Return when these tasks started, and how long they ran in seconds, by their ids."""
    runs = TaskRun.objects.using(settings.DATABASE).filter(pk__in=[step.pk for step in steps if step.pk])
    return {row[0]: (row[1], row[2]) for row in runs.values_list("task_id", "started_at", "runtime")}


def first_nodes(nodes: QuerySet[Node], root_ids: Sequence[str]) -> dict[str, Node]:
    """Return those of ``nodes`` that are the first of these workflows, by their roots."""
    firsts = [nodes.filter(root_id=root_id).order_by("id")[:1] for root_id in root_ids]
    parts = (firsts[start : start + _AT_ONCE] for start in range(0, len(firsts), _AT_ONCE))
    found = {node.root_id: node for part in parts for rows in together(*part) for node in rows}
    return {root_id: found[root_id] for root_id in root_ids if root_id in found}


def has_many_failed(root_id: str, many: int) -> bool:
    """Tell whether so many tasks of a workflow ran and failed, or may have: in more than ``MOST`` nobody counts."""
    failed = TaskRun.objects.filter(task_id=OuterRef("task_id"), state__unindexed=states.FAILURE).exclude(queue="")
    # Each is looked up by its id: where no statistics are, a join with states is planned as a product of both.
    nodes = _nodes().filter(root_id=root_id).annotate(failed=Subquery(failed.values("pk")))
    numbers = list(nodes.values_list("failed", flat=True)[: MOST + 1])
    return len(numbers) > MOST or sum(number is not None for number in numbers) >= many


def size(root_id: str) -> CappedCount:
    """Return how many tasks a workflow has."""
    return capped_count(_nodes().filter(root_id=root_id))


def sample(root_id: str, most: int) -> list[str]:
    """Return how some tasks of a workflow are called."""
    return [str(node) for node in _nodes().filter(root_id=root_id)[:most]]


def ended(task_ids: Sequence[str]) -> dict[str, str]:
    """Return the final states of those of these tasks of workflows that have ended."""
    runs = TaskRun.objects.using(settings.DATABASE).filter(task_id__in=task_ids)
    found = dict(_nodes().filter(task_id__in=task_ids).exclude(state="").values_list("task_id", "state"))
    return found | dict(runs.filter(state__in=states.READY_STATES).values_list("task_id", "state"))


def root_at(pk: str) -> str:
    """Return the root of the workflow that a row of ``Node`` belongs to, or nothing."""
    if not pk.isdecimal() or len(pk) > _LONGEST_NUMBER:
        return ""
    return _nodes().filter(pk=int(pk)).values_list("root_id", flat=True).first() or ""


def _runs(root_id: str, rows: list[tuple[Any, ...]]) -> QuerySet[Any, Any]:
    """Return the runs of tasks, at last whether each has begun. No times: thousands cost much."""
    runs = TaskRun.objects.using(settings.DATABASE)
    if len(rows) <= _BY_ID:
        found = runs.filter(task_id__in=[row[1] for row in rows])
    else:
        nodes = Node.objects.filter(root_id=root_id, id__lte=rows[-1][0])
        found = runs.filter(task_id__in=nodes.values("task_id"))
    begun = ExpressionWrapper(Q(started_at__isnull=False, finished_at__isnull=True), BooleanField())
    return found.annotate(begun=begun).values_list(*_RUN, "begun")


def _groups(group_ids: set[str]) -> QuerySet[Any, Any]:
    rows = Group.objects.using(settings.DATABASE).filter(group_id__in=sorted(group_ids)[:500])
    return rows.values_list("group_id", "size", "remaining", "failed")


def _step(row: tuple[Any, ...], run: tuple[Any, ...] | None) -> Step:
    _id, task_id, name, kind, group_id, position, waits_for, revoked, state = row
    # Behind the word there may be a seal.
    is_body = kind.startswith("body")
    if run is None:
        shown = state or (states.REVOKED if revoked else NOT_SENT)
        return Step(task_id, name, shown, group_id, position, waits_for, is_body, revoked)
    _id, pk, state, queue, begun = run
    shown = states.STARTED if begun and state == states.PENDING else state
    return Step(task_id, name, shown, group_id, position, waits_for, is_body, revoked, queue, pk)


# -- why a task waits


def why(workflow: Workflow, step: Step) -> str | Promise:
    """Return why a task has not run, in a sentence; empty for one that has, or that runs."""
    if step.state == states.REVOKED:
        return _("revoked before it was sent") if step.revoked and not step.queue else ""
    if step.never_ran:
        return _of_never(workflow, step)
    if step.state == states.PENDING:
        return _("waits in the queue %s") % short(step.queue) if step.queue else _("waits")
    if step.state != NOT_SENT:
        return ""
    return _of_unsent(workflow, step)


def _of_never(workflow: Workflow, step: Step) -> str:
    """Return why a task has failed without a run: what it waited for did not succeed."""
    before = workflow.by_id.get(step.waits_for)
    if before is not None:
        return _("never ran: %s did not succeed") % short(before.short_name)
    failed = [member for member in workflow.members.get(step.waits_for, ()) if member.part == FAILED]
    if not failed:
        return ""
    shown = {"failed": len(failed), "size": _size(workflow, step.waits_for)}
    return _("never ran: %(failed)s of the %(size)s of the group did not succeed") % shown


def _of_unsent(workflow: Workflow, step: Step) -> str:
    if not step.waits_for:
        return _("was sent; more is known when it ends")
    before = workflow.by_id.get(step.waits_for)
    if before is not None:
        if before.part == DONE:
            return _("was sent; more is known when it ends")
        doing = {RUNNING: _("which runs"), WAITING: _("which waits"), FAILED: _("which did not succeed")}[before.part]
        return _("waits for %(task)s, %(doing)s") % {"task": short(before.short_name), "doing": doing}
    size = _size(workflow, step.waits_for)
    if not size:
        return _("waits for something that is not known any more")
    left = _left(workflow, step.waits_for)
    if not left:
        return _("was sent; more is known when it ends")
    return _("waits for %(left)s of %(size)s of the group") % {"left": left, "size": size}


def _size(workflow: Workflow, group_id: str) -> int:
    counted = workflow.groups.get(group_id)
    return counted.size if counted else len(workflow.members.get(group_id, ()))


def _left(workflow: Workflow, group_id: str) -> int:
    counted = workflow.groups.get(group_id)
    if counted:
        return counted.remaining
    return sum(member.part in (RUNNING, WAITING) for member in workflow.members.get(group_id, ()))
