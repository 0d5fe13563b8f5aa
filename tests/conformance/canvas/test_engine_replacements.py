"""``replace``, ``add_to_chord`` and stamps do the same in every store."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import chain, chord, group
from taskq.results.group_result import GroupResult
from tests.support.jobs.flows import add, add_ignored, becomes, boom, same, second_try, total
from tests.support.jobs.heard import brings, calls, hears, new, stamped
from tests.support.stores import on_every_store

from .conftest import Run, dependency, dependency_error, ends, failed, last, linked

pytestmark = on_every_store

two, four, plus = add.s(1, 1), add.s(2, 2), add.s(1)
BOOM = ValueError("boom")


def a(sig: Any) -> Any:
    """Return a signature with the id that a ``ChordError`` names."""
    return sig.clone().set(task_id="a")


#: Signatures that take the place of a task, and their values.
REPLACEMENTS = {
    "task": (two, 2),
    "retried_task": (second_try.s(2), 2),
    "chain": (two | plus, 3),
    "group": (group(two, four), [2, 4]),
    "group_of_one": (group(two), [2]),
    "empty_group": (group(), []),
    "chord": (chord([two, four], total.s()), 6),
    "chain_that_ends_in_a_group": (two | group(plus, plus), [3, 3]),
    "replaced_task": (becomes.s(two | plus), 3),
    "task_replaced_twice": (becomes.s(becomes.s(chord([two, four], total.s()))), 6),
    "chain_with_a_replaced_link": (two | becomes.si(four | plus) | plus, 6),
}
#: Signatures that take the place of a task and fail, and their errors.
FAILING = {
    "task": (boom.s(), BOOM),
    "chain": (boom.s() | plus, BOOM),
    "group": (group(a(boom.s()), two), dependency_error("a", BOOM)),
    "chord": (chord([a(boom.s())], total.s()), dependency_error("a", BOOM)),
    "replaced_task": (becomes.s(two | boom.s()), BOOM),
}


@pytest.mark.parametrize(("sig", "value"), REPLACEMENTS.values(), ids=REPLACEMENTS)
@pytest.mark.parametrize("place", ["alone", "chain", "group", "header", "body"])
def test_replacement(run: Run, place: str, sig: Any, value: Any) -> None:
    canvas, expected = {
        "alone": (becomes.s(sig), value),
        "chain": (chain(two, becomes.si(sig), same.s()), (2, value, [value])),
        "group": (group(becomes.s(sig), two), [value, 2]),
        "header": (chord([becomes.s(sig), two], same.s()), ([value, 2], [[value, 2]])),
        "body": (chord([two], becomes.si(sig)) | same.s(), ([2], value, [value])),
    }[place]
    assert ends(run(canvas)) == expected


@pytest.mark.parametrize(("sig", "error"), FAILING.values(), ids=FAILING)
@pytest.mark.parametrize("place", ["alone", "chain", "header"])
def test_replacement_that_fails(run: Run, place: str, sig: Any, error: Exception) -> None:
    end = failed(error)
    replaced = becomes.s(sig).set(task_id="b")
    canvas, expected = {
        "alone": (replaced, end),
        "chain": (replaced | plus, (end, end)),
        "header": (chord([replaced, two], total.s() | plus), ([end, 2], *(dependency("b", error),) * 2)),
    }[place]
    assert ends(run(canvas)) == expected


@pytest.mark.parametrize(
    ("sig", "called"),
    [(two | plus, 3), (two | a(boom.s()) | plus, ("new", "a", repr(BOOM), True))],
    ids=["success", "failure"],
)
def test_replacement_has_the_callbacks_and_errbacks_of_the_task(run: Run, sig: Any, called: Any) -> None:
    replaced = becomes.s(sig).on_error(new.s())
    replaced.link(hears.s())
    run(chord([replaced, two], same.s()))
    assert calls == [called]


def test_replacement_that_can_not_be(run: Run) -> None:
    result = run(becomes.s(chain()) | plus)
    assert "replace with an empty chain" in str(result.result)
    assert result.parent.state == "FAILURE"


# -- add_to_chord

ADDED = {
    "task": ([two], [2]),
    "two_tasks": ([two, four], [2, 4]),
    "chain": ([two | plus], [3]),
    "group": ([group(two, four)], [[2, 4]]),
    "chord": ([chord([two, four], total.s())], [6]),
    "retried": ([second_try.s(1)], [1]),
    "replaced": ([becomes.s(two | plus)], [3]),
    "ignored": ([add_ignored.s(1, 1)], [2]),
    "that_adds": ([brings.s(1, two)], [1, 2]),
}


@pytest.mark.parametrize(("sigs", "values"), ADDED.values(), ids=ADDED)
def test_added_member(run: Run, sigs: list[Any], values: list[Any]) -> None:
    assert last(run(chord([brings.s(0, *sigs), two], same.s()))) == [[0, 2, *values]]


def test_members_that_a_link_adds(run: Run) -> None:
    assert last(run(chord([two | brings.s(four), two], same.s()))) == [[2, 2, 4]]


@pytest.mark.parametrize("sig", [a(boom.s()), boom.s() | a(plus)], ids=["task", "chain"])
def test_added_member_that_fails(run: Run, sig: Any) -> None:
    assert ends(run(chord([brings.s(0, sig), two], total.s()))) == ([0, 2], dependency("a", BOOM))


@pytest.mark.parametrize("sig", [brings.s(0, two), group(brings.s(0, two)), brings.s(0, two) | plus], ids=repr)
def test_add_to_chord_outside_of_a_chord(run: Run, sig: Any) -> None:
    result = run(sig)
    (end,) = last(result) if isinstance(result, GroupResult) else [last(result)]
    assert "add_to_chord() is for tasks in the header of a chord" in end


# -- stamps

mark = stamped.s()
#: Canvases that are stamped, and how many tries see the stamp.
STAMPED = {
    "chain": (mark | mark, 2),
    "group": (group(mark, mark), 2),
    "chord": (chord([mark, mark | mark], mark), 4),
    "chord_with_a_chain_for_a_body": (chord([two], stamped.si() | mark), 2),
    "chord_with_a_chord_for_a_body": (chord([two], chord([mark, mark], mark)), 3),
    "retry": (stamped.si(tries=2), 2),
    "retry_of_a_member": (chord([stamped.si(tries=2)], mark), 3),
    "replacement": (chord([becomes.s(mark | mark)], mark), 3),
    "added_member": (chord([brings.s(0, mark)], mark), 2),
    "callbacks": (linked(mark, mark, mark | mark), 4),
    "callback_of_a_body": (chord([mark], linked(mark, mark)), 3),
    "errback": (boom.s().on_error(mark), 1),
    "errback_of_a_body": (chord([boom.s()], two.clone().on_error(mark)), 1),
}


@pytest.mark.parametrize(("sig", "count"), STAMPED.values(), ids=STAMPED)
def test_stamps(run: Run, sig: Any, count: int) -> None:
    sig = sig.clone()
    sig.stamp(tenant="acme")
    run(sig)
    assert calls == [{"tenant": "acme"}] * count
