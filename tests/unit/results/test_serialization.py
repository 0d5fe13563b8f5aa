"""Results as plain data: ``FrozenResult`` and Celery's tuples."""

from __future__ import annotations

import pytest

from taskq.records import MOST_ANCESTORS, FrozenResult
from taskq.results.async_result import AsyncResult
from taskq.results.group_result import GroupResult
from taskq.results.serialization import from_frozen, from_tuple


def chain(length: int) -> FrozenResult:
    """Return the result of the last of ``length`` tasks, whose ids are ``0``, ``1``, ..."""
    link: FrozenResult | None = None
    for number in range(length):
        link = FrozenResult(str(number), link)
    assert link is not None
    return link


def chord() -> FrozenResult:
    members = [FrozenResult("a", FrozenResult("before a")), FrozenResult("inner", members=[FrozenResult("b")])]
    return FrozenResult("body", FrozenResult("group", FrozenResult("first"), members))


def test_a_frozen_task() -> None:
    result = from_frozen(FrozenResult("a"))
    assert type(result) is AsyncResult
    assert (result.id, result.parent, result.ignored) == ("a", None, False)


def test_a_frozen_task_whose_result_is_ignored() -> None:
    result = from_frozen(FrozenResult("a", FrozenResult("before", ignored=True), ignored=True))
    assert isinstance(result, AsyncResult)
    assert isinstance(result.parent, AsyncResult)
    assert result.ignored
    assert result.parent.ignored


def test_a_frozen_chord() -> None:
    result = from_frozen(chord())
    group = result.parent
    assert isinstance(group, GroupResult)
    assert str(group.parent) == "first"
    assert [type(member) for member in group] == [AsyncResult, GroupResult]
    assert result.as_list() == ["body", "a", "before a", "b", "first"]


def test_a_frozen_group_without_members_is_a_group() -> None:
    result = from_frozen(FrozenResult("g", members=[]))
    assert isinstance(result, GroupResult)
    assert result.results == []


def test_a_frozen_chain_longer_than_the_stack() -> None:
    result = from_frozen(chain(5000))
    assert [node.id for node in result.ancestors()] == [str(number) for number in reversed(range(4999))]


def test_celerys_tuple_of_a_frozen_result() -> None:
    assert FrozenResult("a").as_tuple() == (("a", None), None)
    assert chord().as_tuple() == from_frozen(chord()).as_tuple()
    assert from_tuple(chord().as_tuple()).as_tuple() == chord().as_tuple()


@pytest.mark.parametrize("length", [1, MOST_ANCESTORS, MOST_ANCESTORS + 1, MOST_ANCESTORS + 2, 1000])
def test_celerys_tuple_keeps_the_nearest_ancestors(length: int) -> None:
    written = chain(length).as_tuple(MOST_ANCESTORS)
    assert written == from_frozen(chain(length)).__json__()
    again = from_tuple(written)
    assert len(list(again.ancestors())) == min(length - 1, MOST_ANCESTORS)


def test_celerys_tuple_limits_the_ancestors_of_members_too() -> None:
    (_, members) = FrozenResult("g", members=[chain(3)]).as_tuple(1)
    assert members == [(("2", (("1", None), None)), None)]
