"""How far a revocation reaches."""

from __future__ import annotations

import pytest

from taskq.records import NewNode
from taskq.workflows.cascade import (
    NodePosition,
    _Workflow,
    cascade,
    dependents_first,
    unreachable_after,
    whole_dependents_first,
)

CHAIN = [NodePosition("a", "", ""), NodePosition("b", "", "a"), NodePosition("c", "", "b")]
#: x, then a chord of a and (b, then c), whose body is y, then z.
CHORD = [
    NodePosition("x", "", ""),
    NodePosition("a", "g", "x"),
    NodePosition("b", "", "x"),
    NodePosition("c", "g", "b"),
    NodePosition("y", "", "g"),
    NodePosition("z", "", "y"),
]
#: x, then a group of a and (b, then c) that nothing waits for.
GROUP = CHORD[:4]


@pytest.mark.parametrize(
    ("places", "wanted", "sent", "reached"),
    [
        (CHAIN, "a", "a", "abc"),
        (CHAIN, "b", "a", "bc"),
        (CHAIN, "c", "a", "abc"),
        (CHAIN, "c", "ab", "bc"),
        (CHAIN, "c", "abc", "c"),
        (CHORD, "z", "x", "xabcyz"),
        (CHORD, "z", "xab", "abcyz"),
        (CHORD, "y", "x", "yz"),
        (CHORD, "x", "x", "xabcyz"),
        (CHORD, "a", "x", "a"),
        (CHORD, "c", "xab", "bc"),
        (CHORD, "b", "xab", "bc"),
        (CHORD, "ac", "x", "abcyzx"),
        (CHORD, "g", "xab", "abcyz"),
        (GROUP, "g", "x", "xabc"),
        (GROUP, "g", "xab", "abc"),
        (GROUP, "c", "x", "bc"),
        (GROUP, "ac", "x", "xabc"),
        (GROUP, "?", "x", ""),
        ([NodePosition("a", "g", "")], "a", "a", "a"),
        ([NodePosition("a", "g", "")], "g", "a", "a"),
    ],
)
def test_cascade_of_a_revocation_by_ids_named_and_sent(
    places: list[NodePosition], wanted: str, sent: str, reached: str
) -> None:
    assert cascade(places, set(wanted), set(sent)) == set(reached)


def test_no_task_is_in_the_group_without_an_id_or_waits_for_it() -> None:
    assert cascade(CHORD, {""}, set()) == set()


def test_cascade_in_a_long_chain_needs_no_deep_stack() -> None:
    places = [NodePosition(str(n), "", str(n - 1) if n else "") for n in range(5000)]
    assert len(cascade(places, {"4999"}, {"0"})) == 5000


def test_dependents_come_first() -> None:
    assert dependents_first(CHAIN, {"a", "b", "c"}) == ["c", "b", "a"]
    assert dependents_first(CHORD, set("xabcyz")) == ["z", "y", "a", "c", "b", "x"]
    assert dependents_first(CHORD, set("bz")) == ["z", "b"]
    many = [NodePosition(str(n), "", str(n - 1) if n else "") for n in range(5000)]
    assert dependents_first(many, {place.task_id for place in many})[0] == "4999"


def test_whole_workflow_is_ordered_dependents_first_without_a_tree_of_it() -> None:
    """In every order of the rows: by their ids, nodes of a replacement come after those that wait for them."""
    replaced = [NodePosition("r", "", "p"), NodePosition("end", "", "r"), NodePosition("p", "", "", "part")]
    for places in (CHAIN, CHORD, replaced, CHAIN[::-1], CHORD[::-1], replaced[::-1]):
        ordered = whole_dependents_first(iter(places))
        assert sorted(ordered) == sorted(place.task_id for place in places)
        tree = _Workflow(places)
        for number, task_id in enumerate(ordered):
            assert not set(tree.after(task_id)).intersection(ordered[number:]), (task_id, ordered)
    many = [NodePosition(str(i), "", str(i - 1) if i else "") for i in range(5000)]
    assert whole_dependents_first(many) == [str(i) for i in reversed(range(5000))]


def test_nodes_of_others_may_wait_in_a_circle() -> None:
    circle = [
        NodePosition("a", "", "b"),
        NodePosition("b", "g", "a"),
        NodePosition("c", "", "g"),
        NodePosition("d", "g", "c"),
    ]
    assert set(whole_dependents_first(circle)) == set("abcd")


def test_dependents_of_a_group_that_was_sent_are_left_to_its_row() -> None:
    nodes = [
        NewNode("root", "a", "shop.add"),
        NewNode("root", "b", "shop.add", group_id="g", waits_for="a"),
        NewNode("root", "c", "shop.total", waits_for="g"),
        NewNode("root", "d", "shop.add", waits_for="c"),
    ]
    assert [each.task_id for each in unreachable_after("a", nodes, {"g"})] == ["b"]
    assert [each.task_id for each in unreachable_after("a", nodes, set())] == ["b", "c", "d"]
    assert [each.task_id for each in unreachable_after("g", nodes, {"g"})] == ["c", "d"]
