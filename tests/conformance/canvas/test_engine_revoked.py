"""Revoked tasks, and messages that can't be read, end their dependents alike on rows and in memory."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import AsyncResult, chord, group, states
from taskq.exceptions import DecodeError, TaskRevokedError
from tests.support.jobs.flows import add, becomes, total
from tests.support.jobs.heard import brings, calls, hears, new, old
from tests.support.stores import on_stores_with_messages

from .conftest import Run, dependency, dependency_error, ends, failed, linked

pytestmark = on_stores_with_messages

R, P = states.REVOKED, states.PENDING
two, four, plus = add.s(1, 1), add.s(2, 2), add.s(1)
REVOKED = TaskRevokedError("revoked")
A_REVOKED = dependency("a", REVOKED)


def a(sig: Any = two) -> Any:
    """Return a task with the id that is revoked."""
    return sig.clone().set(task_id="a")


def late(sig: Any = two) -> Any:
    """Return a task that does not run at once."""
    return sig.clone().set(queue="late")


def body(sig: Any = None) -> Any:
    """Return a body with errbacks; ``sig`` is the task whose id they are told."""
    return (sig or total.s()).clone().set(task_id="body").on_error(new.s()).on_error(old.s())


#: Canvases, and how all tasks end if task, or group, ``a`` is revoked before anything runs.
BY_ID = {
    "task": (a(), R),
    "chain_by_its_first": (a() | plus | plus, (R, R, R)),
    "chain_by_its_middle": (two | a(plus) | plus, (2, R, R)),
    "chain_by_its_last": (two | plus | a(plus), (R, R, R)),
    "chain_before_a_group": (a() | group(plus, plus), (R, [R, R])),
    "group_after_a_task": (two | a(group(plus, plus)), (R, [R, R])),
    "member_of_a_group": (group(a(), four), [R, 4]),
    "member_of_a_group_after_a_task": (two | group(a(plus), plus), (2, [R, 3])),
    "group": (a(group(two, four)), [R, R]),
    "member_of_a_chord": (chord([a(), four], total.s() | plus), ([R, 4], A_REVOKED, A_REVOKED)),
    "only_member_of_a_chord": (chord([a()], total.s() | plus), ([R], R, R)),
    "header_of_a_chord": (chord(a(group(two, four)), total.s() | plus), ([R, R], R, R)),
    "body": (chord([two, four], a(total.s())), ([R, R], R)),
    "body_with_a_link_after_it": (chord([two, four], a(total.s()) | plus), ([2, 4], R, R)),
    "member_of_a_group_for_a_body": (chord([two], group(a(total.s()), total.s())), ([2], [R, 2])),
    "first_of_a_chain_in_a_header": (chord([a() | plus, four], total.s()), ([(R, R), 4], dependency("<id>", REVOKED))),
    "last_of_a_chain_in_a_header": (chord([two | a(plus), four], total.s()), ([(R, R), 4], A_REVOKED)),
    "body_in_a_header": (chord([chord([two], a(total.s())), four], total.s()), ([([R], R), 4], A_REVOKED)),
    "member_in_a_chord_in_a_header": (
        chord([chord([a(), two], total.s().set(task_id="b")), four], total.s()),
        ([([R, 2], A_REVOKED), 4], dependency("b", dependency_error("a", REVOKED))),
    ),
    "chord_of_chords": (chord([chord([two], total.s()), four | plus], a(total.s())), ([([R], R), (R, R)], R)),
    "groups_in_a_row": (group(two, four) | group(a(total.s()), total.s()) | total.s(), ([2, 4], [R, 6], A_REVOKED)),
}


@pytest.mark.parametrize(("sig", "expected"), BY_ID.values(), ids=BY_ID)
def test_revoked_by_id(run: Run, sig: Any, expected: Any) -> None:
    result = run.send(sig)
    AsyncResult[Any]("a").revoke()
    run.work()
    assert ends(result) == expected


#: Canvases that are revoked by their results before anything runs.
BY_RESULT = {
    "task": (two, R),
    "chain": (two | plus | plus, (R, R, R)),
    "group": (group(two, four | plus), [R, (R, R)]),
    "chord": (chord([two, four], total.s()), ([R, R], R)),
    "chord_with_a_chain_for_a_body": (chord([two, four], total.s() | plus), ([R, R], R, R)),
    "chord_with_a_group_for_a_body": (chord([two, four], group(total.s(), total.s())), ([R, R], [R, R])),
    "chord_with_a_chord_for_a_body": (chord([two], chord([total.s()], total.s())), ([R], [R], R)),
    "chord_in_a_chord": (chord([chord([two], total.s()), four], total.s()), ([([R], R), R], R)),
    "chain_with_a_chord": (two | group(plus, plus) | total.s(), (R, [R, R], R)),
}


@pytest.mark.parametrize(("sig", "expected"), BY_RESULT.values(), ids=BY_RESULT)
def test_revoked_by_result(run: Run, sig: Any, expected: Any) -> None:
    result = run.send(sig.clone().on_error(new.s()).on_error(old.s()))
    result.revoke()
    run.work()
    assert ends(result) == expected
    assert calls == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_chord_is_revoked_in_several_transactions(run: Run, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("taskq.store.revoke._BATCH", count)
    result = run.send(chord([chord([two, four], total.s() | plus), four], body()) | plus)
    result.revoke()
    run.work()
    assert ends(result) == ([([R, R], R, R), R], R, R)
    assert calls == []


# -- errbacks


def test_revoked_chord_calls_no_errback_of_its_body(run: Run) -> None:
    result = run.send(chord([two, four], body()))
    result.revoke()
    run.work()
    assert ends(result) == ([R, R], R)
    assert calls == []


def test_revoked_member_calls_the_errbacks_of_the_body_once(run: Run) -> None:
    result = run.send(chord([a(), four, four], body()))
    AsyncResult[Any]("a").revoke()
    result.parent[1].revoke()
    run.work()
    assert ends(result) == ([R, R, 4], A_REVOKED)
    assert sorted(calls) == [("new", "body", repr(dependency_error("a", REVOKED)), False), ("old", "body")]


# -- after some have run

AFTER = {
    "chain": (two | late(a(plus)) | plus, (2, R, R)),
    "group": (group(two, late(a())), [2, R]),
    "member": (chord([two, late(a())], total.s()), ([2, R], A_REVOKED)),
    "body": (chord([two], late(a(total.s()))), ([2], R)),
    "body_of_a_header_that_has_not_ended": (chord([two, late()], a(total.s())), ([2, R], R)),
    "link_of_a_member": (chord([two | late(a(plus)), two], total.s()), ([(2, R), 2], A_REVOKED)),
    "replaced": (a(becomes.s(late() | plus)) | plus, (R, R)),
    "replaced_member": (chord([a(becomes.s(late() | plus)), two], total.s()), ([R, 2], A_REVOKED)),
    "added_member": (chord([brings.s(0, late(a())), two], total.s()), ([0, 2], A_REVOKED)),
    "body_with_an_added_member": (chord([brings.s(0, late()), two], a(total.s())), ([0, 2], R)),
    "what_has_run": (chord([a(), two], total.s()), ([2, 2], 4)),
}


@pytest.mark.parametrize(("sig", "expected"), AFTER.values(), ids=AFTER)
def test_revoked_after_some_have_run(run: Run, sig: Any, expected: Any) -> None:
    result = run(sig)
    AsyncResult[Any]("a").revoke()
    run.work("late")
    assert ends(result) == expected


def test_revoked_task_ends_its_callbacks(run: Run) -> None:
    callback, canvas = hears.s(), chord([hears.s()], hears.s())
    found = [callback.freeze(), canvas.freeze()]
    run.send(linked(a(), callback, canvas))
    AsyncResult[Any]("a").revoke()
    run.work()
    assert [ends(result) for result in found] == [failed(REVOKED), ([failed(REVOKED)], failed(REVOKED))]
    assert calls == []


def test_canvas_that_was_revoked_and_is_sent_again_runs(run: Run) -> None:
    sig = chord([two | plus, four], total.s())
    sig.freeze()
    run.send(sig).revoke()
    assert ends(run(sig)) == ([(2, 3), 4], 7)


# -- messages that can't be read

ERROR = DecodeError("Expecting property name enclosed in double quotes: line 1 column 2 (char 1)")
BROKEN, A_BROKEN = failed(ERROR), dependency("a", ERROR)
UNREADABLE = {
    "task": (late(a()), BROKEN),
    "first_of_a_chain": (late(a()) | plus | plus, (BROKEN, BROKEN, BROKEN)),
    "link_of_a_chain": (two | late(a(plus)) | plus, (2, BROKEN, BROKEN)),
    "member_of_a_group": (group(late(a()), four), [BROKEN, 4]),
    "before_a_chord": (late(a()) | group(plus, plus) | total.s(), (BROKEN, [BROKEN, BROKEN], BROKEN)),
    "member_of_a_chord": (chord([late(a()), four], total.s() | plus), ([BROKEN, 4], A_BROKEN, A_BROKEN)),
    "end_of_a_chain_in_a_header": (chord([two | late(a(plus)), four], total.s()), ([(2, BROKEN), 4], A_BROKEN)),
    "body": (chord([two], late(a(total.s())) | plus), ([2], BROKEN, BROKEN)),
    "replaced": (a(becomes.s(late(two) | plus)) | plus, (BROKEN, BROKEN)),
}


@pytest.mark.parametrize(("sig", "expected"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_message(run: Run, sig: Any, expected: Any) -> None:
    result = run(sig)
    run.break_messages("late")
    run.work("late")
    assert ends(result) == expected


def test_unreadable_member_calls_the_errbacks_of_the_body(run: Run) -> None:
    run(chord([late(a()).on_error(new.s()), four], body()))
    run.break_messages("late")
    run.work("late")
    assert sorted(calls) == [("new", "body", repr(dependency_error("a", ERROR)), False), ("old", "body")]
