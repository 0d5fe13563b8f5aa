"""Freezing: all ids and results before anything runs, and the form that is sent."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import AsyncResult, Signature, chain, chord, group, task
from taskq.results.group_result import GroupResult
from taskq.results.serialization import from_frozen
from taskq.workflows.freezing import Freezer
from taskq.workflows.plan import plan
from tests.unit.canvas.jobs import S, a, add, b, c, d, e, ident, shown


def freeze(sig: Any, task_id: str | None = None) -> tuple[Any, Any]:
    frozen, result = Freezer().freeze(sig, task_id)
    return frozen, result and from_frozen(result)


def line(result: Any) -> list[Any]:
    """Return a result and those before it."""
    found = [result]
    while found[-1].parent is not None:
        found.append(found[-1].parent)
    return found


def ids_of(sig: Any) -> list[str]:
    return [member["options"]["task_id"] for member in sig["kwargs"]["tasks"]]


# -- results -----------------------------------------------------------------------------


def test_result_of_a_chain_leads_back_to_its_first_link() -> None:
    frozen, result = freeze(a | b | c)
    assert [each.id for each in line(result)] == ids_of(frozen)[::-1]
    assert all(type(each) is AsyncResult for each in line(result))


def test_result_of_a_group_has_its_members() -> None:
    frozen, result = freeze(group(a, b | c, group(d, e)))
    assert type(result) is GroupResult
    assert [each.id for each in result.results] == ids_of(frozen)
    assert [len(line(each)) for each in result.results] == [1, 2, 1, 1]
    assert frozen["options"]["task_id"] == result.id


def test_result_of_a_chord_is_its_bodys_with_the_header_as_parent() -> None:
    frozen, result = freeze(a | chord([b, c], d | e))
    step = frozen["kwargs"]["tasks"][1]
    last, first, header, before = line(result)
    assert [type(each) for each in line(result)] == [AsyncResult, AsyncResult, GroupResult, AsyncResult]
    assert [first.id, last.id] == ids_of(step["kwargs"]["body"])
    assert header.id == step["options"]["task_id"] == step["kwargs"]["header"]["options"]["task_id"]
    assert [each.id for each in header.results] == ids_of(step["kwargs"]["header"])
    assert before.id == frozen["kwargs"]["tasks"][0]["options"]["task_id"]


def test_frozen_result_is_ignored_by_task_option_or_signature() -> None:
    @task(name="quiet", ignore_result=True)
    def quiet() -> None: ...

    assert freeze(quiet.s())[1].ignored
    assert freeze(quiet.s() | quiet.si().set(ignore_result=False))[1].parent.ignored
    assert not freeze(quiet.s().set(ignore_result=False))[1].ignored
    assert not freeze(a)[1].ignored


def test_empty_chain_group_and_header_are_frozen() -> None:
    assert freeze(chain())[1] is None
    frozen, result = freeze(group())
    assert (result.results, frozen["kwargs"]["tasks"]) == ([], [])
    _, result = freeze(chord([], S))
    assert result.parent.results == []
    _, result = freeze(group(a, chain(), b))
    assert len(result.results) == 2


@pytest.mark.parametrize("sig", [chord([a]), chord([a], chain()), b | chord([a])], ids=repr)
def test_freezing_a_chord_without_a_body_is_an_error(sig: Any) -> None:
    with pytest.raises(TypeError, match="A chord needs a body"):
        sig.freeze()


# -- form: A15, A16, A17 ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sig", "form"),
    [
        (a | group(b, c) | group(d, e), ("chain", "a", ("chord", ("b", "c"), ("group", "d", "e")))),
        (
            chain(a, group(b, c)) | group(d, e) | S,
            ("chain", "a", ("chord", ("b", "c"), ("chord", ("d", "e"), "S"))),
        ),
        (group(a, group(b, group(c)), d), ("group", "a", "b", "c", "d")),
        (chord([group(a, b), c], S), ("chord", ("a", "b", "c"), "S")),
        (a | group(b, group(c, d)), ("chain", "a", ("group", "b", "c", "d"))),
        (group(chain(a | b, c | d)), ("group", ("chain", "a", "b", "c", "d"))),
        # What counts for a chord ends in one task, which gives the list.
        (
            chord([a | group(b, c), d], S),
            ("chord", (("chain", "a", ("chord", ("b", "c"), "celery.accumulate")), "d"), "S"),
        ),
        (
            chord([chord([a], group(b, c))], S),
            ("chord", (("chord", ("a",), ("chord", ("b", "c"), "celery.accumulate")),), "S"),
        ),
        (chord([chord([a], b)], S), ("chord", (("chord", ("a",), "b"),), "S")),
        (
            group(a, b) | group(a | group(b, c), d) | group(d, e),
            (
                "chain",
                (
                    "chord",
                    ("a", "b"),
                    (
                        "chord",
                        (("chain", "a", ("chord", ("b", "c"), "celery.accumulate")), "d"),
                        ("group", "d", "e"),
                    ),
                ),
            ),
        ),
        # In a plain group nothing waits for it.
        (group(a | group(b, c), d), ("group", ("chain", "a", ("group", "b", "c")), "d")),
    ],
    ids=str,
)
def test_frozen_canvas_has_one_form_however_it_was_joined(sig: Any, form: Any) -> None:
    frozen, _ = freeze(sig)
    assert shown(frozen) == form
    again, _ = freeze(frozen)
    assert again == frozen


def test_frozen_members_have_their_group_index() -> None:
    frozen, _ = freeze(chord([group(a, b), c | d], S))
    members = frozen["kwargs"]["header"]["kwargs"]["tasks"]
    assert [member["options"]["group_index"] for member in members] == [0, 1, 2]


def test_frozen_canvas_is_the_same_out_of_json() -> None:
    sig = a | group(b, c | d) | S
    sig.freeze()
    assert freeze(Signature.from_dict(dict(sig)))[0] == freeze(sig)[0]


# -- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sig", [a, a | b, group(a, b), chord([a], b), chord([a], b | c), a | group(b, c)], ids=repr)
def test_given_id_of_a_canvas_is_that_of_its_result(sig: Any) -> None:
    assert freeze(sig, "mine")[1].id == "mine"
    assert freeze(sig.clone().set(task_id="mine"))[1].id == "mine"
    frozen, result = freeze(sig)
    assert freeze(frozen, "mine")[1].id == "mine"
    assert freeze(frozen)[1].id == result.id


def test_given_ids_are_those_that_freezing_did_not_choose() -> None:
    freezer = Freezer()
    known = a.clone().set(task_id="known")
    freezer.freeze(known | b, "mine")
    assert freezer.given == {"known", "mine"}


def frozen_of(sig: Any) -> Any:
    copy = sig.clone()
    copy.freeze()
    return copy


@pytest.mark.parametrize("sig", [a, a | b, group(a, b), chord([a], b), chord([a], b | c)], ids=repr)
def test_the_same_signature_in_two_places_is_refused(sig: Any) -> None:
    twice = frozen_of(sig)
    with pytest.raises(ValueError, match="stands in two places"):
        plan(chord([twice, twice, twice], S))


def test_the_id_of_the_canvas_is_its_ends_alone() -> None:
    known = frozen_of(a)
    frozen, result = freeze(known | b, known.id)
    assert result.id == known.id
    assert ids_of(frozen)[0] != known.id


def test_frozen_chunks_stay_chunks() -> None:
    parts = add.chunks([(1, 1), (2, 2), (3, 3)], 2)
    result = parts.freeze()
    assert repr(parts) == repr(parts.group())
    assert [sig.id for sig in parts.group().tasks] == [member.id for member in result.results]  # type: ignore[attr-defined]
    assert (parts | ident.s()).apply().get() == [[2, 4], [6]]


def test_only_freeze_of_a_canvas_itself_changes_it_in_place() -> None:
    sig = a | group(b, c) | S
    before = repr(dict(sig))
    freeze(sig)
    assert repr(dict(sig)) == before
    result = sig.freeze()
    assert (sig.id, [step.id is None for step in sig.tasks]) == (result.id, [False, False])
    assert a.id is None


# -- followers --------------------------------------------------------------------------------------


def test_callbacks_of_a_chain_go_to_its_last_link_and_errbacks_to_all() -> None:
    sig = a | b | group(c, d) | e
    sig.link(ident.s())
    sig.link_error(add.s())
    frozen, _ = freeze(sig)
    first, second, last = frozen["kwargs"]["tasks"]
    body = last["kwargs"]["body"]
    assert [step["options"].get("link") for step in (first, second, body)] == [None, None, [ident.s()]]
    assert [step["options"].get("link_error") for step in (first, second, body)] == [[add.s()]] * 3
    assert "link" not in frozen["options"]
    assert all("link_error" not in member["options"] for member in last["kwargs"]["header"]["kwargs"]["tasks"])


def test_link_options_of_a_chord_go_to_its_body_and_of_a_group_are_refused() -> None:
    frozen, _ = freeze(chord([a], b).set(link=ident.s(), link_error=[add.s()]))
    options = frozen["kwargs"]["body"]["options"]
    assert (options["link"], options["link_error"]) == ([ident.s()], [add.s()])
    with pytest.raises(TypeError, match="a callback can't follow a group"):
        freeze(group(a, b).set(link=c))


def test_options_of_a_group_go_to_members_without_their_own() -> None:
    frozen, _ = freeze(group(a, group(b.clone().set(queue="own")).set(queue="q", priority=1), c).set(priority=2))
    assert [
        (member["options"].get("queue"), member["options"].get("priority")) for member in frozen["kwargs"]["tasks"]
    ] == [(None, 2), ("q", 2), (None, 2)]
