from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from taskq.models import Group, Node
from taskq.results import backend
from taskq.results.async_result import AsyncResult
from taskq.results.group_result import GroupResult

from .rows import NOW, success
from .test_async_result import Calls


@pytest.fixture
def calls() -> Iterator[Calls]:
    made = Calls()
    before = backend.use(made)
    yield made
    backend.use(before)


def nested() -> GroupResult[Any]:
    inner = GroupResult[Any]("inner", [AsyncResult("b", AsyncResult("a"))])
    return GroupResult("g", [inner, AsyncResult("c")], AsyncResult("first"))


def test_group_result_is_equal_and_hashed_by_id() -> None:
    result = nested()
    assert (result.id, str(result), repr(result)) == ("g", "g", "<GroupResult: g [inner, c]>")
    assert result == nested() == "g"
    assert result != GroupResult("g")
    assert result != 1
    assert hash(result) == hash("g")
    assert result.children is result.results
    assert bool(GroupResult("empty"))


def test_group_result_needs_an_id() -> None:
    with pytest.raises(ValueError, match="id of a group"):
        GroupResult[Any]("")


def test_group_result_becomes_a_tuple_with_members_and_parent() -> None:
    inner = ("inner", None), [(("b", (("a", None), None)), None)]
    assert nested().as_tuple() == (("g", (("first", None), None)), [inner, (("c", None), None)])
    again = GroupResult.from_tuple(nested().as_tuple())
    assert again.as_tuple() == nested().as_tuple()
    assert isinstance(again, GroupResult)
    assert GroupResult.from_tuple([["g", None], []]) == GroupResult("g")


@pytest.mark.parametrize("data", [None, 4, [], ["x"], [[1, 2, 3], None]])
def test_from_tuple_refuses_data_that_is_no_result(data: Any) -> None:
    with pytest.raises(ValueError, match="not the tuple of a result"):
        GroupResult.from_tuple(data)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copy_and_pickle_keep_members_and_parents(again: Any) -> None:
    assert again(nested()).as_tuple() == nested().as_tuple()


def test_forget_includes_members_and_parents(calls: Calls) -> None:
    nested().forget()
    assert calls.made == [("forget", ["b", "a", "c", "first"])]


def test_revoke_includes_members_and_ids_of_groups(calls: Calls) -> None:
    nested().revoke(terminate=True, signal="KILL")
    assert calls.made == [("revoke", ["g", "inner", "b", "c"], "SIGKILL")]


def test_forget_of_a_chord_includes_its_header(calls: Calls) -> None:
    AsyncResult[int]("body", GroupResult("g", [AsyncResult("a"), AsyncResult("b")])).forget()
    assert calls.made == [("forget", ["body", "a", "b"])]


@pytest.mark.django_db
def test_group_result_is_saved_restored_and_deleted() -> None:
    assert GroupResult.restore("g") is None
    nested().save()
    again = GroupResult.restore("g")
    assert again is not None
    assert again.as_tuple() == nested().as_tuple()
    GroupResult[Any]("g", [AsyncResult("x")]).save()
    assert GroupResult.restore("g") == GroupResult("g", [AsyncResult("x")])
    again.delete()
    assert GroupResult.restore("g") is None


@pytest.mark.django_db
def test_sent_group_is_restored_without_save() -> None:
    Group.objects.create(group_id="g", size=2, remaining=2, body="{}", created_at=NOW)
    for position, task_id in enumerate(("b", "a")):
        Node.objects.create(root_id="r", task_id=task_id, group_id="g", position=position, created_at=NOW)
    assert GroupResult.restore("g") == GroupResult("g", [AsyncResult("b"), AsyncResult("a")])
    saved = GroupResult[Any]("g", [AsyncResult("b"), GroupResult("inner", [AsyncResult("c")])])
    saved.save()
    saved.delete()
    assert GroupResult.restore("g") == saved
    assert Group.objects.get(group_id="g").body == "{}"


@pytest.mark.django_db(transaction=True)
def test_asave_arestore_and_adelete() -> None:
    from asgiref.sync import async_to_sync

    async def ask() -> None:
        await nested().asave()
        again = await GroupResult.arestore("g")
        assert again is not None
        await again.adelete()
        assert await GroupResult.arestore("g") is None

    async_to_sync(ask)()


@pytest.mark.django_db
def test_body_that_is_a_group_gives_the_list_of_its_values() -> None:
    success("a", 6)
    success("b", 8)
    result = GroupResult[int]("body", [AsyncResult("a"), AsyncResult("b")], GroupResult("header"))
    assert result.get() == [6, 8]
