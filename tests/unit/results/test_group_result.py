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


def test_identity() -> None:
    result = nested()
    assert (result.id, str(result), repr(result)) == ("g", "g", "<GroupResult: g [inner, c]>")
    assert result == nested() == "g"
    assert result != GroupResult("g")
    assert result != 1
    assert hash(result) == hash("g")
    assert result.children is result.results
    assert bool(GroupResult("empty"))


def test_needs_an_id() -> None:
    with pytest.raises(ValueError, match="id of a group"):
        GroupResult[Any]("")


def test_as_plain_data() -> None:
    inner = ("inner", None), [(("b", (("a", None), None)), None)]
    assert nested().as_tuple() == (("g", (("first", None), None)), [inner, (("c", None), None)])
    again = GroupResult.from_tuple(nested().as_tuple())
    assert again.as_tuple() == nested().as_tuple()
    assert isinstance(again, GroupResult)
    assert GroupResult.from_tuple([["g", None], []]) == GroupResult("g")


@pytest.mark.parametrize("data", [None, 4, [], ["x"], [[1, 2, 3], None]])
def test_what_is_no_result(data: Any) -> None:
    with pytest.raises(ValueError, match="not the tuple of a result"):
        GroupResult.from_tuple(data)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies(again: Any) -> None:
    assert again(nested()).as_tuple() == nested().as_tuple()


def test_forget_takes_all_along(calls: Calls) -> None:
    nested().forget()
    assert calls.made == [("forget", ["b", "a", "c", "first"])]


def test_revoke_names_the_groups_too(calls: Calls) -> None:
    nested().revoke(terminate=True, signal="KILL")
    assert calls.made == [("revoke", ["g", "inner", "b", "c"], "SIGKILL")]


def test_a_chord_forgets_its_header(calls: Calls) -> None:
    AsyncResult[int]("body", GroupResult("g", [AsyncResult("a"), AsyncResult("b")])).forget()
    assert calls.made == [("forget", ["body", "a", "b"])]


@pytest.mark.django_db
def test_saved_and_restored() -> None:
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
def test_what_was_sent_need_not_be_saved() -> None:
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
def test_asynchronous_twins() -> None:
    from asgiref.sync import async_to_sync

    async def ask() -> None:
        await nested().asave()
        again = await GroupResult.arestore("g")
        assert again is not None
        await again.adelete()
        assert await GroupResult.arestore("g") is None

    async_to_sync(ask)()


@pytest.mark.django_db
def test_the_value_of_a_chord_body_that_is_a_group() -> None:
    success("a", 6)
    success("b", 8)
    result = GroupResult[int]("body", [AsyncResult("a"), AsyncResult("b")], GroupResult("header"))
    assert result.get() == [6, 8]
