"""Callbacks and errbacks are called, once each and with the same arguments, alike in every store."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings

from taskq import chain, chord, group
from taskq.canvas.signature import Signature
from tests.support.jobs.flows import add, boom, second_try, total
from tests.support.jobs.heard import (
    bound_new,
    bound_old,
    calls,
    gives_up,
    hears,
    new,
    noted,
    noted_new,
    notify,
    old,
    old_class,
    raises,
    strange,
)
from tests.support.stores import on_every_store

from .conftest import Run, dependency, dependency_error, ends, failed, last, linked

pytestmark = on_every_store

two, plus = add.s(1, 1), add.s(1)
BOOM = ValueError("boom")
FAILED = failed(BOOM)
#: Values that JSON has under a mark.
VALUES = [b"x", Decimal("1.5"), date(2040, 1, 1), UUID(int=1)]


def named(task_id: str, sig: Any) -> Any:
    return sig.clone().set(task_id=task_id)


def fails(task_id: str) -> Any:
    return named(task_id, boom.si())


# -- callbacks

CALLBACKS = {
    "task": ([hears.s()], [2], [2]),
    "two": ([hears.s(), plus | hears.s()], [2, 3], [2, (3, 3)]),
    "immutable": ([hears.si(5)], [5], [5]),
    "with_arguments": ([add.s(5) | hears.s()], [7], [(7, 7)]),
    "of_a_callback": ([linked(plus, hears.s())], [3], [3]),
    "chain": ([chain(hears.s(), plus, hears.s())], [2, 3], [(2, 3, 3)]),
    "group": ([group(hears.s(), plus)], [2], [[2, 3]]),
    "chord": ([chord([hears.s(), plus], hears.s())], [2, [2, 3]], [([2, 3], [2, 3])]),
    "that_fails": ([boom.s(), hears.s()], [2], [FAILED, 2]),
    "that_is_unknown": ([Signature("no.such.task"), hears.s()], [2], ["FAILURE NotRegistered('no.such.task')", 2]),
}


@pytest.mark.parametrize(("callbacks", "called", "children"), CALLBACKS.values(), ids=CALLBACKS)
def test_callback(run: Run, callbacks: list[Any], called: list[Any], children: list[Any]) -> None:
    result = run(linked(two, *callbacks))
    assert ends(result) == 2
    assert calls == called
    assert [ends(child) for child in result.children] == children


@pytest.mark.parametrize(
    ("sig", "called", "expected"),
    [
        (linked(two, hears.s()) | plus, [2], 3),
        (chord([linked(two, boom.s(), hears.s()), two], total.s()), [2], 4),
        (chord([two], linked(total.s(), hears.s())), [2], 2),
        (linked(chord([two], total.s()), hears.s()), [2], 2),
        (linked(second_try.s(3), hears.s()), [3], 3),
    ],
    ids=["link", "member", "body", "chord", "retried"],
)
def test_callback_of(run: Run, sig: Any, called: list[Any], expected: Any) -> None:
    assert last(run(sig)) == expected
    assert calls == called


def test_callback_of_a_failure_is_not_called_and_fails(run: Run) -> None:
    callback = hears.s()
    result = run(group(linked(boom.s(), callback, named("c", hears.s())), two))
    assert ends(result) == [FAILED, 2]
    assert calls == []


# -- errbacks

#: Failing tasks with the id ``a``, their errors, and whether they have run.
FAILING = {
    "task": (fails("a"), BOOM, True),
    "retried": (named("a", gives_up.si()), ValueError("tired"), True),
    "unknown": (named("a", Signature("no.such.task")), None, False),
    "wrong_arguments": (named("a", add.si(1)), None, True),
    "value_without_encoding": (named("a", strange.si()), None, True),
}


@pytest.mark.parametrize(("sig", "error", "ran"), FAILING.values(), ids=FAILING)
def test_errback_of_both_conventions(run: Run, sig: Any, error: BaseException, ran: bool) -> None:
    result = run(sig.clone().on_error(new.s()).on_error(old.s()))
    assert sorted(calls) == [("new", "a", repr(result.result), ran), ("old", "a")]
    assert error is None or repr(result.result) == repr(error)


ERRBACKS = {
    "immutable_old": (old.si("x"), [("old", "x")]),
    "old_with_arguments": (hears.s(), ["a"]),
    "immutable_with_two_parameters": (notify.si(7, "failed"), [("notify", 7, "failed")]),
    "old_with_its_own_argument": (noted.s("x"), [("noted", "a", "x")]),
    "old_with_its_own_keyword": (noted.s(text="x"), [("noted", "a", "x")]),
    "new_with_its_own_argument": (noted_new.s("x"), [("noted_new", "a", "x")]),
    "new_with_its_own_keyword": (noted_new.s(text="x"), [("noted_new", "a", "x")]),
    "with_values_of_other_types": (hears.si(VALUES), [VALUES]),
    "bound_old": (bound_old.s(), [("bound_old", "a", None)]),
    "bound_old_with_its_own_argument": (bound_old.s(1), [("bound_old", "a", 1)]),
    "bound_new": (bound_new.s(), [("bound_new", "a")]),
    "class": (old_class.s(more=2), [("class", "a", 2)]),
    "chain": (chain(hears.s(), old.s()), ["a", ("old", "a")]),
    "group": (group(hears.s(), old.s()), ["a", ("old", "a")]),
    "chord": (chord([hears.s(), hears.si(1)], hears.s()), ["a", 1, ["a", 1]]),
    "that_fails": (chain(hears.s(), boom.s(), hears.s()), ["a"]),
    "new_that_fails": (raises.s(), [("raises", "a")]),
    "that_is_unknown": (Signature("no.such.task"), []),
}


@pytest.mark.parametrize(("errback", "called"), ERRBACKS.values(), ids=ERRBACKS)
@pytest.mark.parametrize("place", ["task", "header"])
def test_errback(run: Run, place: str, errback: Any, called: list[Any]) -> None:
    if place == "task":
        assert ends(run(fails("a").on_error(errback))) == FAILED
    else:
        body = named("a", total.s()).on_error(errback)
        assert last(run(chord([fails("b")], body))) == dependency("b", BOOM)
    assert calls == called


@pytest.mark.parametrize(
    "sig",
    [two, second_try.s(1), two | plus, group(two, two), chord([two, two], total.s())],
    ids=["task", "retried", "chain", "group", "chord"],
)
def test_errback_of_a_success_is_not_called(run: Run, sig: Any) -> None:
    result = run(sig.clone().on_error(new.s()))
    assert result.successful()
    assert calls == []


IN_CHAINS = {
    "first": fails("a") | plus | plus,
    "between": two | fails("a") | plus,
    "last": two | fails("a"),
}


@pytest.mark.parametrize("sig", IN_CHAINS.values(), ids=IN_CHAINS)
def test_errback_of_a_chain_is_called_for_the_link_that_failed(run: Run, sig: Any) -> None:
    assert last(run(sig.clone().on_error(new.s()))) == FAILED
    assert calls == [("new", "a", repr(BOOM), True)]


def body() -> Any:
    return named("body", total.s()).on_error(new.s())


A_FAILED = dependency_error("a", BOOM)
#: Chords whose member ``a`` fails.
CHORDS = {
    "one_member": chord([fails("a"), two], body()),
    "two_members": chord([fails("a"), fails("b")], body()),
    "member_in_a_chain": chord([boom.s() | named("a", plus), two], body()),
    "with_more_after_the_body": chord([fails("a"), two], body()) | plus,
    "with_a_chain_for_a_body": chord([fails("a")], body() | plus),
    "with_a_chord_for_a_body": chord([fails("a")], chord([total.s()], named("body", total.s())).on_error(new.s())),
    "as_an_inner_chord": chord([chord([fails("a")], body()), two], total.s()),
    "errback_of_the_chord": chord([fails("a"), two], named("body", total.s())).on_error(new.s()),
}


@pytest.mark.parametrize("sig", CHORDS.values(), ids=CHORDS)
def test_errback_of_a_body_is_called_once_for_its_header(run: Run, sig: Any) -> None:
    assert not run(sig).successful()
    assert calls == [("new", "body", repr(A_FAILED), False)]


def test_errback_of_a_body_that_fails(run: Run) -> None:
    assert last(run(chord([two], fails("body").on_error(new.s()) | plus))) == FAILED
    assert calls == [("new", "body", repr(BOOM), True)]


def test_errback_of_a_group_for_a_body_is_called_for_each_of_its_tasks(run: Run) -> None:
    sig = group(fails("a"), two) | group(named("b", total.s()), named("c", total.s()).on_error(old.s()))
    assert last(run(sig.on_error(new.s()))) == [failed(A_FAILED)] * 2
    assert sorted(calls) == [*(("new", task_id, repr(A_FAILED), False) for task_id in "bc"), ("old", "c")]


@override_settings(TASKQ_ALLOW_ERROR_CB_ON_CHORD_HEADER=True)
def test_errback_of_a_chord_is_called_for_each_member_if_allowed(run: Run) -> None:
    run(chord([fails("a"), fails("b"), two], named("body", total.s())).on_error(new.s()))
    expected = [("new", task_id, repr(BOOM), True) for task_id in "ab"]
    assert sorted(calls) == [*expected, ("new", "body", repr(A_FAILED), False)]


# -- errbacks get the id, whatever canvas they were given to


def test_errback_of_a_group_gets_the_id_of_each_failed_member(run: Run) -> None:
    sig = group(fails("a"), two, fails("b"))
    sig.link_error(old.s())
    run(sig)
    assert sorted(calls) == [("old", "a"), ("old", "b")]


def test_errback_of_a_body_that_is_a_group_gets_the_id_of_each_failed_task(run: Run) -> None:
    run(chord([two], group(named("a", boom.s()), named("b", boom.s()))).on_error(old.s()))
    assert sorted(calls) == [("old", "a"), ("old", "b")]


@pytest.mark.parametrize("how", ["method", "option"])
@override_settings(TASKQ_ALLOW_ERROR_CB_ON_CHORD_HEADER=True)
def test_errback_of_a_chord_gets_the_ids_of_failed_members_and_of_the_body_if_allowed(run: Run, how: str) -> None:
    sig = chord([fails("a"), fails("b")], named("body", total.s()))
    run(sig.on_error(old.s()) if how == "method" else chain(sig).set(link_error=[old.s()]))
    assert sorted(calls) == [("old", "a"), ("old", "b"), ("old", "body")]
