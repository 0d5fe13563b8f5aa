"""What a task led to, and what was before it."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from taskq.exceptions import ChordError, IncompleteStream
from taskq.messages import values
from taskq.results.async_result import AsyncResult
from taskq.results.group_result import GroupResult
from tests.support.in_task import inside_task

from .rows import failure, put, success


def tree() -> AsyncResult[Any]:
    """``root`` sent ``a`` and a group of ``b`` and ``c``, of which ``c`` sent ``d``, as ``a`` did."""
    success("d", 5)
    success("c", 4, AsyncResult("d"))
    success("b", 3)
    success("a", 2, AsyncResult("d"))
    group = GroupResult[Any]("g", [AsyncResult("b"), AsyncResult("c")])
    return success("root", 1, AsyncResult("a"), group)


# -- what it led to


@pytest.mark.django_db
def test_children_are_results_and_groups() -> None:
    a, group = tree().children or ()
    assert a == AsyncResult("a")
    assert isinstance(group, GroupResult)
    assert group.get() == [3, 4]
    assert AsyncResult[Any]("b").children == []


@pytest.mark.django_db
def test_collect_yields_the_tree_in_breadth_first_order() -> None:
    found = list(tree().collect(timeout=1))
    assert [(str(node), value) for node, value in found] == [
        ("root", 1),
        ("a", 2),
        ("g", [3, 4]),
        ("d", 5),
        ("b", 3),
        ("c", 4),
    ]
    assert tree().get_leaf() == 4


@pytest.mark.django_db(transaction=True)
def test_achildren_aget_leaf_and_abuild_graph() -> None:
    from asgiref.sync import async_to_sync

    root = tree()
    children, nodes = root.children, len(root.graph)

    async def ask() -> None:
        assert await root.achildren() == children
        assert await root.aget_leaf() == 4
        assert len(await root.abuild_graph()) == nodes
        group: Any = (await root.achildren() or [])[1]
        assert len(await group.abuild_graph()) == 4

    async_to_sync(ask)()


@pytest.mark.django_db
def test_collect_makes_one_query_a_generation() -> None:
    root = tree()
    with CaptureQueriesContext(connection) as queries:
        list(root.collect())
    assert len(queries) == 3


@pytest.mark.django_db
def test_collect_raises_what_a_task_raised() -> None:
    failure("b", ValueError("boom"))
    root = success("root", 1, AsyncResult("b"))
    with pytest.raises(ValueError, match="boom"):
        list(root.collect())
    assert isinstance(list(root.collect(propagate=False))[1][1], ValueError)


@pytest.mark.django_db
def test_iterdeps_yields_pairs_of_parent_and_child() -> None:
    pairs = [(str(parent), str(node)) for parent, node in tree().iterdeps()]
    assert pairs == [
        ("None", "root"),
        ("root", "a"),
        ("root", "g"),
        ("a", "d"),
        ("g", "b"),
        ("g", "c"),
        ("c", "d"),
    ]


@pytest.mark.django_db
def test_child_that_has_not_ended_needs_intermediate() -> None:
    put("a", "STARTED")
    root = success("root", 1, AsyncResult("a"))
    with pytest.raises(IncompleteStream, match="a has not ended"):
        list(root.iterdeps())
    assert len(list(root.iterdeps(intermediate=True))) == 2
    assert [value for _, value in root.collect(intermediate=True)] == [1, None]


@pytest.mark.django_db
def test_graph_has_nodes_edges_and_dot() -> None:
    graph = tree().graph
    assert [str(node) for node in graph] == ["root", "a", "g", "d", "b", "c"]
    assert [(str(x), str(y)) for x, y in graph.edges()] == [
        ("root", "a"),
        ("root", "g"),
        ("a", "d"),
        ("g", "b"),
        ("g", "c"),
        ("c", "d"),
    ]
    assert "d" in graph
    assert graph.children(AsyncResult("a")) == ["d"]
    assert str(graph).startswith("root(a, g)\na(d)\n")
    file = io.StringIO()
    assert graph.to_dot(file) == file.getvalue()
    assert '    "root" -> "a";' in file.getvalue()


@pytest.mark.django_db
def test_collect_within_a_task_is_refused() -> None:
    with inside_task(), pytest.raises(RuntimeError, match="within a task"):
        list(tree().collect())


@pytest.mark.django_db(transaction=True)
def test_acollect_yields_the_tree() -> None:
    from asgiref.sync import async_to_sync

    root = tree()

    async def ask() -> list[Any]:
        return [value async for _, value in root.acollect(timeout=1)]

    assert async_to_sync(ask)() == [1, 2, [3, 4], 5, 3, 4]


# -- what was before it


@pytest.mark.django_db
def test_chord_error_of_a_body_has_the_members_exception_as_cause() -> None:
    failure("m", ValueError("boom"))
    failure("body", ChordError.by_member("m", ValueError("boom")))
    result = AsyncResult[Any]("body", GroupResult("g", [AsyncResult("m")]))
    for _ in range(2):
        with pytest.raises(ChordError, match=r"^Dependency m raised ValueError\('boom'\)$") as caught:
            result.get(follow_parents=False)
        assert repr(caught.value.__cause__) == "ValueError('boom')"
        with pytest.raises(ValueError, match="boom"):
            result.get()
        with pytest.raises(ValueError, match="boom"):
            GroupResult("outer", [result]).get()
    with pytest.raises(ChordError):
        result.maybe_throw()
    assert repr(result.result.__cause__) == "ValueError('boom')"


@pytest.mark.django_db
def test_chord_error_of_an_outer_chord_has_the_chain_of_causes() -> None:
    failure("m", ValueError("boom"))
    inner = ChordError.by_member("m", ValueError("boom"))
    failure("inner", inner)
    failure("body", ChordError.by_member("inner", inner))
    with pytest.raises(ChordError, match=r"^Dependency inner raised ChordError") as caught:
        AsyncResult[Any]("body").get(follow_parents=False)
    assert isinstance(caught.value.__cause__, ChordError)
    assert isinstance(caught.value.__cause__.__cause__, ValueError)
    with pytest.raises(ValueError, match="boom"):
        AsyncResult[Any]("body").get()


@pytest.mark.django_db
def test_chord_error_without_a_known_member_has_no_cause() -> None:
    failure("self", ChordError.by_member("self", "itself"))
    with pytest.raises(ChordError):
        AsyncResult[Any]("self").get()
    failure("lost", ChordError.by_member("nobody", "x"))
    with pytest.raises(ChordError) as caught:
        AsyncResult[Any]("lost").get()
    assert caught.value.__cause__ is None
    assert ChordError("something else").member_id is None
    assert ChordError.by_member("an id", "x").member_id == "an id"


@pytest.mark.django_db(transaction=True)
def test_cause_of_a_chord_error_is_read_in_a_coroutine() -> None:
    from asgiref.sync import async_to_sync

    failure("m", ValueError("boom"))
    failure("body", ChordError.by_member("m", ValueError("boom")))

    async def ask() -> None:
        with pytest.raises(ChordError) as caught:
            await AsyncResult[Any]("body").aget(follow_parents=False)
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(ValueError, match="boom"):
            await AsyncResult[Any]("body")

    async_to_sync(ask)()


def test_results_with_thousands_of_parents_are_encoded_and_copied() -> None:
    last: AsyncResult[Any] = AsyncResult("0")
    for number in range(1, 5000):
        last = AsyncResult(str(number), last)
    assert len(last.as_list()) == len(list(last.ancestors())) + 1 == 5000
    again = AsyncResult.from_tuple(last.as_tuple())
    assert again.as_list() == last.as_list()
    assert pickle.loads(pickle.dumps(last)).as_list() == last.as_list()
    text = values.encode_children([last])
    assert AsyncResult.from_tuple(values.decode_children(text)[0]) == last
    assert values.encode(last)[0] == values.encode([last])[0][1:-1]
