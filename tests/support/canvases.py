"""Random canvases, and what they must give: a reference evaluator in plain Python that knows nothing of taskq.

A canvas is written down as plain tuples, so that a failure prints as something that a
person can type in::

    ("add", 3)                       a task of ``tests.support.jobs.pure``
    ("chain", [step, ...])
    ("group", [member, ...])
    ("chord", [member, ...], body)
    ("becomes", canvas)              a task that is replaced by it

``drawn`` makes one from a function that chooses a number below ``n`` (a dice, or hypothesis),
``built`` makes the signature, ``expected`` says what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from taskq import chain, chord, group
from tests.support.jobs import pure

Canvas = tuple[Any, ...]
Choose = Callable[[int], int]

#: How deep canvases are nested.
DEPTH = 4
_TASKS = ("add", "mul", "xsum", "identity", "retry_once")


class Failed(Exception):
    """What the reference gives for a task that fails; ``kind`` is the name of the exception's class."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Never(list[Any]):
    """The failures of a group that never runs: it has failed even if it is empty."""

    def __init__(self, kind: str, members: Iterable[Any]) -> None:
        super().__init__(members)
        self.kind = kind


# -- writing canvases down


def drawn(choose: Choose, depth: int = DEPTH, *, failing: bool = True) -> Canvas:
    """Return a canvas that is nested up to ``depth``; about one task in twenty fails if ``failing``."""
    kind = choose(5) if depth else 0
    if kind == 0:
        if failing and choose(20) == 19:
            return "fail", choose(10)
        return _TASKS[choose(len(_TASKS))], choose(10)

    def some(least: int, most: int) -> list[Canvas]:
        return [drawn(choose, depth - 1, failing=failing) for _ in range(least + choose(most - least + 1))]

    if kind == 1:
        steps = some(1, 3)
        # A chain of nothing but empty groups has no value to speak of.
        return "chain", steps if _steps(steps) else [*steps, drawn(choose, 0, failing=failing)]
    if kind == 2:
        return "group", some(0, 3)
    if kind == 3:
        return "becomes", drawn(choose, depth - 1, failing=failing)
    return "chord", some(0, 3), drawn(choose, depth - 1, failing=failing)


def built(canvas: Canvas) -> Any:
    """Return the signature of a canvas."""
    kind, inner, *body = canvas
    if kind == "chain":
        return chain(*map(built, inner))
    if kind == "group":
        return group(map(built, inner))
    if kind == "chord":
        return chord(map(built, inner), built(body[0]))
    return getattr(pure, kind).s(built(inner) if kind == "becomes" else inner)


# -- what they give


def expected(canvas: Canvas, value: Any) -> Any:
    """Return what a canvas gives for ``value``, with a ``Failed`` in the place of each value that there never is."""
    kind, inner = canvas[:2]
    if kind == "chain":
        return _in_a_row(_steps(inner), value)
    if kind == "group":
        return [expected(member, value) for member in _flat(inner)]
    if kind == "chord":
        return _in_a_row([canvas], value)
    if kind == "becomes":
        return _of_one(inner, value)
    return _of_task(kind, inner, value)


def _of_one(canvas: Canvas, value: Any) -> Any:
    """Return what a task gives that is replaced by a canvas: one value, be it a group's."""
    value = expected(canvas, value)
    if isinstance(value, Never):
        return Failed(value.kind)
    return Failed("ChordError") if _is_list(canvas) and _has_failed(value) else value


def _of_task(kind: str, n: int, value: Any) -> Any:
    """Return what a task gives: this is what ``tests.support.jobs.pure`` does, said once more."""
    if kind == "fail":
        return Failed("ValueError")
    return {
        "add": lambda: _weight(value) + n,
        "mul": lambda: _weight(value) * n % 1_000_003,
        "xsum": lambda: _weight(value),
        "identity": lambda: value,
        "retry_once": lambda: value,
    }[kind]()


def _weight(value: Any) -> int:
    return sum(_weight(each) for each in value) if isinstance(value, list) else value


def _steps(steps: list[Canvas]) -> list[Canvas]:
    """Return the steps of a chain in a row, those of chains in it among them; empty groups are left out.

    A group of one is that one, but for the first step and after a group.
    """
    found: list[Canvas] = []
    for step in steps if len(steps) == 1 else [step for step in steps if step != ("group", [])]:
        row = _row(step)
        while len(row) == 1 and row[0][0] == "group" and len(row[0][1]) == 1 and found and not _is_list(found[-1]):
            row = _row(row[0][1][0])
        found += row
    return found


def _row(step: Canvas) -> list[Canvas]:
    return _steps(step[1]) if step[0] == "chain" else [step]


def _is_list(canvas: Canvas) -> bool:
    """Tell whether what a step gives is a group's."""
    if canvas[0] == "chain":
        return _is_list(_steps(canvas[1])[-1])
    return canvas[0] == "group" or (canvas[0] == "chord" and _is_list(canvas[2]))


def _in_a_row(steps: list[Canvas], value: Any) -> Any:
    """Return what the last step gives. Only that may be several values, some of them failed."""
    for place, step in enumerate(steps):
        rest = steps[place + 1 :]
        if step[0] == "chord":
            members = [expected(member, value) for member in _flat(step[1])]
            if _has_failed(members):
                return _never(rest[-1] if rest else step[2], "ChordError")
            value = expected(step[2], members)
        else:
            value = expected(step, value)
        if rest and _has_failed(value):
            # What follows a group that ran is the body of a chord, whose error is not that of the member.
            return _never(rest[-1], value.kind if isinstance(value, Failed | Never) else "ChordError")
    return value


def _never(canvas: Canvas, kind: str) -> Any:
    """Return what a canvas gives that never runs: the failure in the place of each value."""
    if canvas[0] == "group":
        return Never(kind, (_never(member, kind) for member in _flat(canvas[1])))
    if canvas[0] == "chord":
        return _never(canvas[2], kind)
    if canvas[0] == "chain":
        return _never(_steps(canvas[1])[-1], kind)
    return Failed(kind)


def _flat(members: list[Canvas]) -> list[Canvas]:
    """Return the members of a group, those of groups in it among them."""
    found: list[Canvas] = []
    for member in members:
        found += _flat(member[1]) if member[0] == "group" else [member]
    return found


def _has_failed(value: Any) -> bool:
    if isinstance(value, list) and not isinstance(value, Never):
        return any(map(_has_failed, value))
    return isinstance(value, Failed | Never)
