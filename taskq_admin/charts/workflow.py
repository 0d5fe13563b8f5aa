"""The picture of a workflow: which boxes there are, what they say, and where they are. Pure: it queries nothing.

A group with many members is one box, as are the steps in the middle of a long chain: no picture has more than some
hundred boxes, and each says what is in it. Colour tells a state, and so do its word and a sign.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from taskq import states
from taskq_admin.queries.workflows import DONE, FAILED, NOT_SENT, RUNNING, WAITING, Step, Workflow

from .graph import Box, Drawing, Line, layout

#: Members that a group has at most to be drawn one by one, and steps of a chain.
FEW, FEW_STEPS = 8, 12
#: Boxes of a picture at most.
MOST = 160
WIDTH, HEIGHT = 172.0, 46.0
JOIN_WIDTH, JOIN_HEIGHT = 84.0, 20.0
#: Characters that a box has room for.
_ROOM = 22
#: The colour and the sign of a state.
TONES = {
    states.SUCCESS: ("good", "✓"),
    states.FAILURE: ("bad", "✗"),
    states.REVOKED: ("off", "⊘"),
    states.STARTED: ("busy", "▶"),
    states.RETRY: ("warn", "↻"),
    states.PENDING: ("wait", "○"),
    NOT_SENT: ("unsent", "·"),
}
#: The same for many tasks: the first part that there is decides.
_OF_PARTS = ((FAILED, "bad", "✗"), (RUNNING, "busy", "▶"), (WAITING, "wait", "○"), (DONE, "good", "✓"))


@dataclass(frozen=True, slots=True)
class Shape:
    """A box with what it says. ``steps`` are the tasks in it: one, or several that are folded; none is a join."""

    key: str
    title: str
    note: str
    tone: str
    steps: Sequence[Step] = ()
    group_id: str = ""
    lit: bool = False

    @property
    def size(self) -> tuple[float, float]:
        """Its width and height."""
        return (WIDTH, HEIGHT) if self.steps else (JOIN_WIDTH, JOIN_HEIGHT)

    @property
    def step(self) -> Step | None:
        """The task, if it is the only one."""
        return self.steps[0] if len(self.steps) == 1 else None


@dataclass(frozen=True, slots=True)
class Picture:
    """The shapes with their places, and the lines. ``left_out`` tasks have no box."""

    drawing: Drawing
    shapes: list[tuple[Shape, Box]]
    left_out: int = 0

    @property
    def lines(self) -> list[Line]:
        """The lines between the boxes."""
        return self.drawing.lines


def picture(workflow: Workflow, lit: str = "") -> Picture:
    """Return the picture of a workflow, in which the task ``lit`` stands out."""
    folds = _Folds(workflow)
    shapes = [_shape(workflow, key, steps, folds.groups.get(key, ""), lit) for key, steps in folds.boxes.items()]
    joins, edges = _joins_and_edges(workflow, folds)
    kept, left_out = shapes[:MOST], shapes[MOST:]
    all_shapes = {shape.key: shape for shape in [*kept, *joins]}
    drawing = layout({key: shape.size for key, shape in all_shapes.items()}, edges)
    placed = [(shape, drawing.boxes[key]) for key, shape in all_shapes.items()]
    return Picture(drawing, placed, sum(len(shape.steps) for shape in left_out))


# -- folding


@dataclass(slots=True)
class _Folds:
    """Which tasks share a box. ``boxes`` are by the key of a box, ``groups`` have the group that a box stands for."""

    workflow: Workflow
    boxes: dict[str, list[Step]] = field(init=False)
    groups: dict[str, str] = field(init=False, default_factory=dict)
    box_of: dict[str, str] = field(init=False, default_factory=dict)
    _waiting: dict[str, list[Step]] = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = defaultdict(list)
        for step in self.workflow.steps:
            self._waiting[step.waits_for].append(step)
        self._waiting.pop("", None)
        self._fold_groups()
        self._fold_callbacks()
        self._fold_chains()
        self.boxes = {}
        for step in self.workflow.steps:
            self.boxes.setdefault(self.key_of(step), []).append(step)

    def key_of(self, step: Step) -> str:
        """Return the key of the box that a task is in."""
        return self.box_of.get(step.task_id, f"task:{step.task_id}")

    def _fold_groups(self) -> None:
        large = {group_id: members for group_id, members in self.workflow.members.items() if len(members) > FEW}
        lanes = {group_id: self._lanes(members) for group_id, members in large.items()}
        # The outer groups first: what is in them is theirs.
        for group_id in sorted(lanes, key=lambda group_id: -len(lanes[group_id])):
            if not any(member.task_id in self.box_of for member in large[group_id]):
                self._fold(f"group:{group_id}", lanes[group_id])
                self.groups[f"group:{group_id}"] = group_id

    def _fold_callbacks(self) -> None:
        for before, steps in self._waiting.items():
            alone = [s for s in steps if s.task_id not in self.box_of and not s.group_id and not self._is_awaited(s)]
            if len(alone) > FEW:
                self._fold(f"after:{before}", alone)

    def _fold_chains(self) -> None:
        for step in self.workflow.steps:
            before = self.workflow.by_id.get(step.waits_for)
            if not self._goes_straight_on(step) or (before is not None and self._goes_straight_on(before)):
                continue
            line = [step]
            while self._goes_straight_on(line[-1]):
                (following,) = self._after(line[-1])
                line.append(following)
            if len(line) > FEW_STEPS:
                self._fold(f"steps:{line[2].task_id}", line[2:-2])

    def _fold(self, key: str, steps: Iterable[Step]) -> None:
        self.box_of.update((step.task_id, key) for step in steps if step.task_id not in self.box_of)

    def _after(self, step: Step) -> list[Step]:
        return self._waiting.get(step.task_id, []) if not step.group_id else []

    def _goes_straight_on(self, step: Step) -> bool:
        """Tell whether exactly one task, which is in no group and not folded, waits for this one and nothing else."""
        after = self._after(step)
        return len(after) == 1 and not after[0].group_id and not {step.task_id, after[0].task_id} & self.box_of.keys()

    def _is_awaited(self, step: Step) -> bool:
        return step.task_id in self._waiting or step.group_id in self._waiting

    def _lanes(self, members: Sequence[Step]) -> list[Step]:
        """Return members with the tasks that lead to one of them only: earlier steps, and whole inner groups."""
        lanes = {member.task_id: number for number, member in enumerate(members)}
        found, todo = list(members), list(members)
        while todo:
            step = todo.pop()
            for earlier in self._before(step.waits_for):
                if earlier.task_id not in lanes and self._only_in(lanes[step.task_id], step.waits_for, lanes):
                    lanes[earlier.task_id] = lanes[step.task_id]
                    found.append(earlier)
                    todo.append(earlier)
        return found

    def _before(self, waits_for: str) -> list[Step]:
        """Return the task, or the members of the group, that a task waits for."""
        step = self.workflow.by_id.get(waits_for)
        if step is None:
            return self.workflow.members.get(waits_for, []) if waits_for else []
        # The end of a task in a group counts for the group: others wait for that.
        return [] if step.group_id else [step]

    def _only_in(self, lane: int, before: str, lanes: Mapping[str, int]) -> bool:
        return all(lanes.get(step.task_id) == lane for step in self._waiting.get(before, ()))


def _joins_and_edges(workflow: Workflow, folds: _Folds) -> tuple[list[Shape], list[tuple[str, str]]]:
    """Return the joins of groups with several boxes, for which something waits, and all edges."""
    joins: dict[str, Shape] = {}
    edges: list[tuple[str, str]] = []
    for step in workflow.steps:
        key = folds.key_of(step)
        if (before := workflow.by_id.get(step.waits_for)) is not None:
            edges.append((folds.key_of(before), key))
            continue
        members = list(dict.fromkeys(folds.key_of(member) for member in workflow.members.get(step.waits_for, ())))
        if len(members) == 1 or key in members:
            edges += [(member, key) for member in members]
        elif members:
            join = joins.setdefault(step.waits_for, _join(workflow, step.waits_for))
            edges += [(member, join.key) for member in members]
            edges.append((join.key, key))
    return list(joins.values()), edges


# -- what a box says


def _shape(workflow: Workflow, key: str, steps: list[Step], group_id: str, lit: str) -> Shape:
    is_lit = bool(lit) and any(step.task_id == lit for step in steps)
    if len(steps) == 1 and not group_id:
        (step,) = steps
        tone, sign = TONES.get(step.state, ("busy", "▶"))
        if step.never_ran:
            return Shape(key, fit(step.short_name), fit(f"{sign} {_('never ran')}"), "never", steps, lit=is_lit)
        return Shape(key, fit(step.short_name), fit(f"{sign} {step.state}"), tone, steps, lit=is_lit)
    names = {step.short_name for step in steps}
    counted = workflow.groups.get(group_id)
    count = max(len(steps), counted.size) if counted and workflow.more else len(steps)
    what = names.pop() if len(names) == 1 else _("tasks")
    counts = Counter(step.part for step in steps)
    tone, sign = next((tone, sign) for part, tone, sign in _OF_PARTS if counts[part])
    return Shape(
        key,
        fit(f"{count:,} \N{MULTIPLICATION SIGN} {what}"),
        fit(f"{sign} {said(counts)}", 30),
        tone,
        steps,
        group_id,
        is_lit,
    )


def _join(workflow: Workflow, group_id: str) -> Shape:
    members = workflow.members[group_id]
    counted = workflow.groups.get(group_id)
    size = counted.size if counted else len(members)
    left = counted.remaining if counted else sum(member.part in (RUNNING, WAITING) for member in members)
    failed = (counted and counted.failed) or any(member.part == FAILED for member in members)
    tone = "bad" if failed else "wait" if left else "good"
    return Shape(
        f"join:{group_id}", _("%(done)s of %(size)s") % {"done": size - left, "size": size}, "", tone, group_id=group_id
    )


def said(counts: Mapping[str, int]) -> str:
    """Return how many tasks there are of each part, in words."""
    words = ((DONE, _("done")), (FAILED, _("failed")), (RUNNING, _("running")), (WAITING, _("waiting")))
    return " · ".join(f"{counts[part]:,} {word}" for part, word in words if counts.get(part))


def fit(text: str, room: int = _ROOM) -> str:
    """Return a text that a box has room for, on one line; characters that turn the line are gone."""
    seen = "".join(c if c.isprintable() or c == " " else " " for c in text[: room * 4])
    return seen if len(seen) <= room else f"{seen[: room - 1]}…"
