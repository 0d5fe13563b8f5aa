"""A task that ends without success ends its dependents, alike in every store."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import chord, group
from taskq.canvas.signature import Signature
from taskq.exceptions import EncodeError, Ignore, NotRegistered
from tests.support.jobs.flows import add, add_ignored, boom, same, second_try, total
from tests.support.jobs.heard import gives_up, ignores, strange
from tests.support.stores import on_every_store, on_stores_with_messages

from .conftest import Run, dependency, dependency_error, ends, failed, last

two, plus, never = add.s(1, 1), add.s(1), total.s()
BOOM = ValueError("boom")
FAILED = failed(BOOM)
A_FAILED = dependency_error("a", BOOM)


def a(sig: Any = None) -> Any:
    """Return a member, which fails unless it is given, with the id that a ``ChordError`` names."""
    return (sig or boom.si()).clone().set(task_id="a")


IN_CHAINS = {
    "first": (boom.s() | plus, (FAILED, FAILED)),
    "between": (two | boom.s() | plus | plus, (2, FAILED, FAILED, FAILED)),
    "before_a_group": (boom.s() | group(plus, plus), (FAILED, [FAILED, FAILED])),
    "before_a_chord": (boom.s() | group(plus, plus) | never, (FAILED, [FAILED, FAILED], FAILED)),
    "in_a_group": (group(boom.s() | plus, boom.s(), two), [(FAILED, FAILED), FAILED, 2]),
    "after_retries": (gives_up.s() | plus, (failed(ValueError("tired")),) * 2),
    "in_a_map": (boom.map([1]) | plus, (FAILED, FAILED)),
    "in_chunks": (boom.chunks([(1,), (2,)], 1), [FAILED, FAILED]),
}
IN_CHORDS = {
    "first": (chord([a(), two], never), ([FAILED, 2], dependency("a", BOOM))),
    "last": (chord([two, a()], never), ([2, FAILED], dependency("a", BOOM))),
    "two": (chord([a(), boom.s()], never), ([FAILED, FAILED], dependency("a", BOOM))),
    "in_a_chain": (chord([boom.s() | a(plus), two], never), ([(FAILED, FAILED), 2], dependency("a", BOOM))),
    "in_a_group": (chord([group(a(), two), two], never), ([FAILED, 2, 2], dependency("a", BOOM))),
    "in_a_group_after_a_task": (
        chord([(two | group(a(), plus)), two], never),
        ([(2, [FAILED, 3], dependency("a", BOOM)), 2], dependency("<id>", A_FAILED)),
    ),
    "in_a_chord": (
        chord([chord([a(), two], never.clone().set(task_id="b")), two], never),
        ([([FAILED, 2], dependency("a", BOOM)), 2], dependency("b", A_FAILED)),
    ),
    "with_a_chain_for_a_body": (chord([a()], never | plus), ([FAILED], *(dependency("a", BOOM),) * 2)),
    "with_a_group_for_a_body": (chord([a()], group(never, never)), ([FAILED], [dependency("a", BOOM)] * 2)),
    "with_a_chord_for_a_body": (
        chord([a()], chord([never, never], never)),
        ([FAILED], [dependency("a", BOOM)] * 2, dependency("a", BOOM)),
    ),
    "before_a_group": (
        chord([a()], never) | group(plus, plus),
        ([FAILED], dependency("a", BOOM), [dependency("a", BOOM)] * 2),
    ),
    "after_retries": (
        chord([a(gives_up.s()), second_try.s(1)], never),
        ([failed(ValueError("tired")), 1], dependency("a", ValueError("tired"))),
    ),
    "body": (chord([two], boom.s() | plus), ([2], FAILED, FAILED)),
}
#: Tasks that fail before they run, or whose value is lost.
FAILING = {
    "unknown": (Signature("no.such.task"), NotRegistered("no.such.task")),
    "wrong_arguments": (add.s(1, 2, 3), TypeError("add() takes 2 positional arguments but 3 were given")),
    "value_without_encoding": (
        strange.si(),
        EncodeError(
            "TypeError('Object of type object is not JSON serializable'): the return value, of type object, can't be "
            "stored with the serializer 'json'. Use plain data (of a model instance its primary key), or change "
            "TASKQ_RESULT_SERIALIZER."
        ),
    ),
}


@on_every_store
@pytest.mark.parametrize(("sig", "expected"), IN_CHAINS.values(), ids=IN_CHAINS)
def test_failure_in_a_chain(run: Run, sig: Any, expected: Any) -> None:
    assert ends(run(sig)) == expected


@on_every_store
@pytest.mark.parametrize(("sig", "expected"), IN_CHORDS.values(), ids=IN_CHORDS)
def test_failure_in_a_chord(run: Run, sig: Any, expected: Any) -> None:
    assert ends(run(sig)) == expected


@on_every_store
@pytest.mark.parametrize(("sig", "error"), FAILING.values(), ids=FAILING)
@pytest.mark.parametrize("place", ["alone", "chain", "group", "header", "body"])
def test_task_that_can_not_succeed(run: Run, place: str, sig: Any, error: Exception) -> None:
    end = failed(error)
    canvas, expected = {
        "alone": (sig, end),
        "chain": (sig | plus, (end, end)),
        "group": (group(sig, two), [end, 2]),
        "header": (chord([a(sig), two], never | plus), ([end, 2], *(dependency("a", error),) * 2)),
        "body": (group() | sig.clone().set(immutable=True) | plus, ([], end, end)),
    }[place]
    assert ends(run(canvas)) == expected


@on_every_store
def test_chord_error_has_the_error_of_the_member_for_its_cause(run: Run) -> None:
    inner = never.clone().set(task_id="b")
    error = run(chord([chord([a(), two], inner), two], never)).result
    causes = [error, error.__cause__, error.__cause__.__cause__]
    assert [repr(cause) for cause in causes] == [repr(dependency_error("b", A_FAILED)), repr(A_FAILED), repr(BOOM)]


@on_stores_with_messages
def test_first_failure_ends_the_body_at_once(run: Run) -> None:
    late = two.clone().set(queue="late")
    result = run(chord([a(), late, late], never | plus))
    body_failed = dependency("a", BOOM)
    assert ends(result) == ([FAILED, "PENDING", "PENDING"], body_failed, body_failed)
    run.work("late")
    assert ends(result) == ([FAILED, 2, 2], body_failed, body_failed)


# -- results that are not kept

IGNORED = {
    "member": (chord([a(add_ignored.s(1, 2)), two], same.s()), [[3, 2]]),
    "member_by_option": (chord([a(two.clone().set(ignore_result=True)), two], same.s()), [[2, 2]]),
    "end_of_a_chain": (chord([two | a(add_ignored.s(1)), two], same.s()), [[3, 2]]),
    "link": (a(add_ignored.s(1, 2)) | plus, 4),
    "member_of_a_group": (group(a(add_ignored.s(1, 2))) | same.s(), [[3]]),
    "failure": (chord([a().set(ignore_result=True), two], never), dependency("a", BOOM)),
}


@on_every_store
@pytest.mark.parametrize(("sig", "expected"), IGNORED.values(), ids=IGNORED)
def test_ignored_result(run: Run, sig: Any, expected: Any) -> None:
    assert last(run(sig)) == expected
    assert not run.has_run("a")


@on_every_store
@pytest.mark.parametrize(
    ("sig", "expected"),
    [
        (a(ignores.s()) | plus | plus, failed(Ignore("nothing"))),
        (chord([a(ignores.s()), two], never | plus), dependency("a", Ignore("nothing"))),
        (chord([two | a(ignores.s()), two], never), dependency("a", Ignore("nothing"))),
    ],
    ids=["link", "member", "end_of_a_chain"],
)
def test_ignore(run: Run, sig: Any, expected: Any) -> None:
    assert last(run(sig)) == expected
    assert not run.has_run("a")
