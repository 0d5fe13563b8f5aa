from __future__ import annotations

import re
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from taskq_admin.charts.graph import Box, Drawing, layout

SIZE = (100.0, 40.0)


def drawn(*edges: str, alone: str = "") -> Drawing:
    pairs = [(edge[0], edge[1]) for edge in edges]
    return layout(dict.fromkeys([*(key for pair in pairs for key in pair), *alone], SIZE), pairs)


def overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def check(drawing: Drawing) -> None:
    """No two boxes overlap, all are inside, all lines go down and leave no box that they have to cross."""
    boxes = drawing.boxes
    assert not [(a, b) for a, b in combinations(boxes.values(), 2) if overlap(a, b)]
    assert all(box.x >= 0 and box.x + box.width <= drawing.width for box in boxes.values())
    assert all(box.y >= 0 and box.y + box.height <= drawing.height for box in boxes.values())
    for line in drawing.lines:
        start, end = boxes[line.start], boxes[line.end]
        assert start.layer < end.layer
        numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", line.path)]
        assert abs(numbers[0] - (start.x + start.width / 2)) < 0.2
        assert abs(numbers[-2] - (end.x + end.width / 2)) < 0.2
        assert numbers[1] <= numbers[-1]


def test_chain_is_one_straight_line() -> None:
    drawing = drawn("ab", "bc", "cd")
    check(drawing)
    assert len({box.x for box in drawing.boxes.values()}) == 1
    assert [box.layer for box in drawing.boxes.values()] == [0, 1, 2, 3]


def test_members_are_side_by_side_and_the_body_is_in_the_middle() -> None:
    drawing = drawn("ab", "ac", "ad", "be", "ce", "de")
    check(drawing)
    boxes = drawing.boxes
    assert boxes["b"].x < boxes["c"].x < boxes["d"].x
    assert boxes["a"].x == boxes["c"].x == boxes["e"].x


def test_long_line_crosses_no_box() -> None:
    drawing = drawn("ab", "bc", "cd", "ad")
    check(drawing)
    (line,) = [line for line in drawing.lines if (line.start, line.end) == ("a", "d")]
    crossing = float(re.findall(r"([\d.]+) [\d.]+V", line.path)[0])
    box = drawing.boxes["b"]
    assert not box.x <= crossing <= box.x + box.width


def test_circles_unknown_boxes_and_boxes_alone() -> None:
    drawing = layout(
        dict.fromkeys("abcd", SIZE), [("a", "b"), ("b", "c"), ("c", "a"), ("a", "a"), ("x", "a"), ("a", "y")]
    )
    check(drawing)
    assert {(line.start, line.end) for line in drawing.lines} == {("a", "b"), ("b", "c")}
    assert layout({}, []).boxes == {}


@given(
    st.integers(1, 25).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=60))
    )
)
def test_any_graph(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    drawing = layout(
        {str(i): SIZE if i % 3 else (60.0, 20.0) for i in range(count)}, [(str(a), str(b)) for a, b in edges]
    )
    check(drawing)
    forward = {(str(a), str(b)) for a, b in edges if a < b}
    if forward == {(str(a), str(b)) for a, b in edges}:
        assert {(line.start, line.end) for line in drawing.lines} == forward
