"""The picture of a workflow: boxes, folds, bounds, and why a task waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import chord, group, states
from taskq.workflows.freezing import Freezer
from taskq.workflows.nodes import Nodes
from taskq_admin.charts.workflow import FEW, MOST, Picture, fit, picture
from taskq_admin.queries.workflows import NOT_SENT, Counted, Step, Workflow
from tests.admin.test_graph import check
from tests.support.jobs.flows import add, same, total

two, plus = add.s(1, 1), add.s(1)


def of(sig: Any, **ends: str) -> Workflow:
    """Return a canvas as a workflow that was not run: names are states to come."""
    frozen, _ = Freezer().freeze(sig)
    nodes = list(Nodes(frozen, "root"))
    steps = [
        Step(n.task_id, n.name, ends.get(n.task_id, NOT_SENT), n.group_id, n.position, n.waits_for, n.kind == "body")
        for n in nodes
    ]
    sizes: dict[str, int] = {}
    for step in steps:
        sizes[step.group_id] = sizes.get(step.group_id, 0) + 1
    return Workflow("root", steps, {g: Counted(size, size, False) for g, size in sizes.items() if g})


def titles(drawn: Picture) -> list[str]:
    return [shape.title for shape, _ in drawn.shapes]


def test_chain_and_chord_have_a_box_each_and_a_join() -> None:
    drawn = picture(of(two | group(plus, plus, plus) | total.s() | plus))
    check(drawn.drawing)
    assert titles(drawn) == ["add", "add", "add", "add", "total", "add", "0 of 3"]
    assert max(box.layer for _, box in drawn.shapes) == 4
    assert len(drawn.lines) == 3 + 3 + 1 + 1


def test_chord_of_a_thousand_is_folded_with_what_leads_to_its_members_only() -> None:
    workflow = of(two | group([plus | chord([plus, plus], total.s()) for _ in range(1000)]) | same.s())
    assert len(workflow.steps) == 2 + 4 * 1000
    drawn = picture(workflow)
    check(drawn.drawing)
    assert titles(drawn) == ["add", "4,000 \N{MULTIPLICATION SIGN} tasks", "same"]
    assert [(line.start == drawn.shapes[0][0].key, line.end == drawn.shapes[2][0].key) for line in drawn.lines] == [
        (True, False),
        (False, True),
    ]


def test_fold_counts_states_and_stands_out_with_the_task_in_it() -> None:
    members = [two.clone().set(task_id=f"m{n}") for n in range(FEW + 2)]
    workflow = of(group(members) | total.s(), m0=states.FAILURE, m1=states.SUCCESS, m2=states.STARTED)
    drawn = picture(workflow, "m5")
    fold = drawn.shapes[0][0]
    assert (fold.note, fold.tone, fold.lit) == ("✗ 1 done · 1 failed · 1 runni…", "bad", True)
    assert not drawn.shapes[1][0].lit
    assert picture(workflow, "other").shapes[0][0].lit is False


def test_long_chain_shows_its_ends() -> None:
    sig = two
    for _ in range(500):
        sig |= plus
    drawn = picture(of(sig))
    check(drawn.drawing)
    assert titles(drawn) == ["add", "add", "497 \N{MULTIPLICATION SIGN} add", "add", "add"]


def test_picture_has_a_bound() -> None:
    # Groups of few members after each other can't be folded as groups.
    sig: Any = two
    for _ in range(60):
        sig = sig | group(plus, plus, plus, plus) | total.s()
    drawn = picture(of(sig))
    assert len(drawn.shapes) <= MOST + 60
    assert drawn.left_out > 0


_leaf = st.just(add.s(1, 1))
_canvases = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda sigs: _chained(sigs)),
        st.lists(inner, min_size=1, max_size=12).map(lambda sigs: chord(sigs, total.s())),
    ),
    max_leaves=30,
)


def _chained(sigs: list[Any]) -> Any:
    sig = sigs[0]
    for each in sigs[1:]:
        sig = sig | each
    return sig


@given(_canvases)
def test_picture_of_any_workflow(sig: Any) -> None:
    workflow = of(sig)
    drawn = picture(workflow)
    check(drawn.drawing)
    assert sum(len(shape.steps) for shape, _ in drawn.shapes) == len(workflow.steps)
    # Whatever waits for something is below it.
    places = {step.task_id: (shape.key, box) for shape, box in drawn.shapes for step in shape.steps}
    for step in workflow.steps:
        key, box = places[step.task_id]
        before = [workflow.by_id[step.waits_for]] if step.waits_for in workflow.by_id else []
        for each in before or workflow.members.get(step.waits_for, ()):
            above, other = places[each.task_id]
            assert above == key or other.layer < box.layer


@pytest.mark.parametrize("waits_for", ["other", "own", "nobody", "group"])
def test_picture_of_rows_of_which_none_is_the_first(waits_for: str) -> None:
    """Whoever writes rows can have each task wait for the next one, for itself, or for its own group."""
    ids = [f"t{n}" for n in range(20)]
    after = {"other": [*ids[1:], ids[0]], "own": ids}.get(waits_for, [waits_for] * len(ids))
    group_id = "group" if waits_for == "group" else ""
    steps = [
        Step(task_id, "shop.mail", NOT_SENT, group_id, 0, before) for task_id, before in zip(ids, after, strict=True)
    ]
    drawn = picture(Workflow("root", steps))
    assert sum(len(shape.steps) for shape, _ in drawn.shapes) == len(steps)


def test_text_in_a_box_is_one_short_line() -> None:
    assert fit("\u202eexe.gpj\u2066\n\x07" + "n" * 10_000) == " exe.gpj   nnnnnnnnnn…"
