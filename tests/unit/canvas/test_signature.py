"""``Signature``: a call as a value."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from kombu.utils.json import dumps, loads

from taskq import Signature, chain, chord, group, maybe_signature, signature, subtask
from taskq.exceptions import NotRegistered
from taskq.records import Envelope
from taskq.workflows.fields import merged

from .jobs import a, add, b, body_of, call, embed_of, ident, tsum

KEYS = ["task", "args", "kwargs", "options", "subtask_type", "immutable"]
CANVASES = [
    add.s(2, 2),
    add.si(2, z=2).set(queue="q"),
    add.s(1, 1) | add.s(2),
    group(add.s(i) for i in range(3)),
    chord([add.s(1, 1)], tsum.s()),
    add.s(1, 1) | group(add.s(2), add.s(3)) | tsum.s(),
    ident.map([1, 2]),
    add.starmap([(1, 2)]),
    add.chunks([(1, 2), (3, 4)], 1),
]


# -- what it looks like -------------------------------------------------------------------


def test_repr_of_signatures_is_that_of_the_guide() -> None:
    assert repr(add.subtask((2, 2), countdown=10)) == "capapp.add(2, 2)"
    assert repr(add.s(2, 2)) == "capapp.add(2, 2)"
    assert repr(add.s(2, y="z")) == "capapp.add(2, y='z')"
    assert repr(add.s(4, 4) | add.s(8)) == "capapp.add(4, 4) | capapp.add(8)"
    assert repr(group(add.s(1), add.s(2))) == "group([capapp.add(1), capapp.add(2)])"
    assert repr(chord([add.s(1)], tsum.s())) == "chord([capapp.add(1)], capapp.tsum())"
    assert repr(chain()) == "chain()"
    assert repr(ident.map([1])) == "[capapp.ident(x) for x in [1]]"
    assert repr(add.starmap([(1, 2)])) == "[capapp.add(*x) for x in [(1, 2)]]"
    assert add.s(2).reprcall(1, y=3) == "capapp.add(1, 2, y=3)"


@pytest.mark.parametrize(
    ("sig", "form"),
    [
        (add.s(1, 2).set(queue="q"), {"args": [1, 2], "options": {"queue": "q"}}),
        (add.si(1), {"args": [1], "immutable": True}),
    ],
)
def test_signature_has_celerys_six_keys(sig: Any, form: Any) -> None:
    plain = {"task": "capapp.add", "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
    assert list(sig) == KEYS
    assert json.loads(json.dumps(sig)) == plain | form


def test_signature_fields_are_read_and_set() -> None:
    sig = add.s(1, y=2).set(task_id="t", root_id="r", parent_id="p")
    assert (sig.task, sig.name, sig.args, sig.kwargs) == ("capapp.add", "capapp.add", (1,), {"y": 2})
    assert (sig.id, sig.root_id, sig.parent_id) == ("t", "r", "p")
    assert (sig.subtask_type, sig.immutable) == (None, False)
    assert sig.type is add
    with pytest.raises(NotRegistered):
        Signature("not.there").type  # noqa: B018
    sig.args, sig.kwargs, sig.options, sig.immutable = (3,), {}, {"queue": "q"}, True
    assert sig == add.si(3).set(queue="q")


@pytest.mark.parametrize("sig", CANVASES, ids=repr)
def test_signatures_survive_json_pickle_and_copies(sig: Any) -> None:
    for made in (loads(dumps(sig)), json.loads(json.dumps(sig))):
        again = Signature.from_dict(made)
        assert json.dumps(again) == json.dumps(sig)
        assert type(again) is type(sig)
    for other in (pickle.loads(pickle.dumps(sig)), copy.deepcopy(sig), copy.copy(sig)):
        assert other == sig
        assert other is not sig
    assert bool(sig)


def test_signature_can_be_an_argument_of_a_task(sent: list[Envelope]) -> None:
    ident.delay(add.s(1) | add.s(2))
    (found,) = body_of(sent[0])[0]
    assert Signature.from_dict(found) == add.s(1) | add.s(2)


# -- making one -----------------------------------------------------------------------------


def test_signature_takes_names_tasks_and_dictionaries() -> None:
    assert signature("capapp.add", (2, 2), {"z": 1}, {"queue": "q"}) == Signature(
        "capapp.add", args=(2, 2), kwargs={"z": 1}, queue="q"
    )
    assert signature(add, (2, 2)) == add.s(2, 2)
    assert signature("x", countdown=10).options == {"countdown": 10}
    assert subtask is signature
    sig = add.s(2, 2)
    assert signature(sig) == sig
    assert signature(sig) is not sig
    assert type(signature(dict(sig))) is Signature
    assert maybe_signature(None) is None
    assert maybe_signature(sig) is sig
    assert maybe_signature(dict(sig)) == sig


def test_from_dict_takes_missing_keys_and_refuses_unknown_kinds() -> None:
    assert Signature.from_dict({"task": "x"}) == Signature("x")
    assert Signature.from_dict({"task": "x", "subtask_type": "", "args": None, "options": None}) == Signature("x")
    with pytest.raises(KeyError):
        Signature.from_dict({"task": "x", "subtask_type": "never"})
    for nothing in ({}, "x", 3):
        with pytest.raises(TypeError, match="signature"):
            Signature.from_dict(nothing)  # type: ignore[arg-type]


def test_signature_types_can_be_registered() -> None:
    @Signature.register_type("mine")
    class Mine(Signature[Any]):
        __slots__ = ()

    try:
        made = Signature.from_dict({"task": "x", "subtask_type": "mine"})
        assert type(made) is Mine
        assert type(made.clone()) is Mine
    finally:
        del Signature.TYPES["mine"]


def test_signature_arguments_are_a_list_or_a_tuple() -> None:
    assert Signature("x", [1, 2]).args == (1, 2)
    with pytest.raises(TypeError, match=r"write \(x,\)"):
        Signature("x", "ab")


# -- partials: A2, A3 -----------------------------------------------------------------------------


def test_call_args_come_first_and_call_kwargs_win(sent: list[Envelope]) -> None:
    call.s(1, 2, k=1).apply_async(("p",), {"k": 2, "z": 3})
    assert body_of(sent[0])[:2] == [["p", 1, 2], {"k": 2, "z": 3}]
    call.s(1, 2, k=1).delay("p", k=2)
    assert body_of(sent[1])[:2] == [["p", 1, 2], {"k": 2}]


def test_immutable_signature_takes_options_and_no_arguments(sent: list[Envelope]) -> None:
    add.si(5, 5).set(queue="q").apply_async((1,), {"z": 1}, priority=3)
    assert body_of(sent[0])[:2] == [[5, 5], {}]
    assert (sent[0].queue, sent[0].priority) == ("q", 3)
    assert add.si(5, 5)() == 10
    assert add.s(2).set(immutable=True).immutable


def test_call_options_win_except_group_id_and_stamped_headers() -> None:
    sig = add.s().set(queue="a", group_id="g", stamped_headers=["x"])
    _, _, options = merged(sig, None, None, {"queue": "b", "group_id": "h", "stamped_headers": []})
    assert options == {"queue": "b", "group_id": "g", "stamped_headers": ["x"]}
    assert sig.options["queue"] == "a"


def test_calling_a_signature_runs_the_function_here(sent: list[Envelope]) -> None:
    assert add.s(2)(3) == 5
    assert call.s(1, k=1)(0, k=2) == [[0, 1], {"k": 2}]
    assert sent == []


def test_clone_merges_and_replace_overwrites() -> None:
    sig = add.s(2).set(queue="q")
    assert sig.clone((1,), {"z": 1}, priority=3) == add.s(1, 2, z=1).set(queue="q", priority=3)
    assert sig.partial((1,)) == sig.clone((1,))
    assert sig.replace(args=(7, 8), kwargs={"k": 1}, options={}) == add.s(7, 8, k=1)
    assert sig.replace() == sig == add.s(2).set(queue="q")


# -- nothing leaks: A30 ----------------------------------------------------------------------------


def test_clone_of_a_signature_shares_no_state() -> None:
    sig = add.s(1, kw={"deep": 1})
    sig.link(ident.s())
    other = sig.clone()
    other.link(tsum.s())
    other.options["link"][0].set(queue="q")
    other.options["headers"] = {}
    other.kwargs["more"] = 1
    assert sig == add.s(1, kw={"deep": 1}).set(link=[ident.s()])


@pytest.mark.parametrize(
    "sig", [add.s(1, 1) | add.s(2), group(add.s(1), add.s(2)), chord([add.s(1)], tsum.s())], ids=repr
)
def test_clones_of_canvases_share_no_state(sig: Any) -> None:
    before = json.dumps(sig)
    other = sig.clone()
    for task in other.tasks:
        task.set(queue="q")
        task.link(ident.s())
    other.set(queue="x")
    if isinstance(other, chord):
        assert other.body is not None
        other.body.set(queue="q")
    assert json.dumps(sig) == before


def test_each_call_of_a_signature_has_new_ids(sent: list[Envelope]) -> None:
    sig = add.s(1, 1) | add.s(2)
    first, second = sig.delay(), sig.delay()
    assert len({first.id, second.id, first.parent.id, second.parent.id}) == 4  # type: ignore[union-attr,attr-defined]
    once = add.s(1, 1)
    assert once.delay().id != once.delay().id
    assert once.id is None


def test_freezing_twice_gives_the_same_ids() -> None:
    for sig in (add.s(1, 1), add.s(1, 1) | add.s(2), group(add.s(1), add.s(2)), chord([add.s(1)], tsum.s())):
        first = sig.freeze()
        frozen = json.dumps(sig)
        assert sig.freeze() == first
        assert sig.freeze("another") == first
        assert json.dumps(sig) == frozen


def test_frozen_signature_is_sent_under_its_id(sent: list[Envelope]) -> None:
    sig = add.s(1, 1) | add.s(2)
    result = sig.freeze("mine")
    assert result.id == "mine"
    assert result.parent is not None
    assert sig.delay() == result
    assert sent[0].task_id == result.parent.id  # type: ignore[attr-defined]
    assert sent[0].reset
    assert add.s(1, 1).freeze("x").id == "x"


def test_signature_twice_in_a_group_has_two_ids() -> None:
    sig = add.s(1, 1)
    both = group(sig, sig)
    assert len({result.id for result in both.freeze().results}) == 2  # type: ignore[attr-defined]
    assert both.tasks[0].id != both.tasks[1].id
    assert sig.id is None


# -- links -------------------------------------------------------------------------------------------


def test_linked_callbacks_and_errbacks_are_sent_once_each(sent: list[Envelope]) -> None:
    sig = add.s(1, 1)
    callback, errback = ident.s(), tsum.s()
    assert sig.link(callback) is callback
    assert sig.link_error(errback) is errback
    assert sig.on_error(a) is sig
    sig.link(ident.s())  # the same again
    sig.delay()
    embed = embed_of(sent[0])
    assert [Signature.from_dict(each) for each in embed["callbacks"]] == [callback]
    assert [Signature.from_dict(each) for each in embed["errbacks"]] == [errback, a]


def test_call_links_are_sent_and_must_be_signatures(sent: list[Envelope]) -> None:
    add.apply_async((1, 1), link=ident.s(), link_error=[a, b])
    embed = embed_of(sent[0])
    assert [each["task"] for each in embed["callbacks"]] == ["capapp.ident"]
    assert [each["task"] for each in embed["errbacks"]] == ["a", "b"]
    for option in ("link", "link_error", "chain"):
        with pytest.raises(TypeError, match=f"{option} of capapp.add takes signatures"):
            add.apply_async((1, 1), **{option: [add]})  # type: ignore[arg-type]
    for wrong in (add, 5, 0, "capapp.add"):
        with pytest.raises(TypeError, match=rf"link of capapp.add takes signatures, as add\.s\(2, 2\), not {wrong!r}"):
            add.apply_async((1, 1), link=wrong)


@pytest.mark.parametrize("follower", [add, "capapp.add", None, {}])
def test_linking_what_is_no_signature_is_refused(follower: Any) -> None:
    with pytest.raises(TypeError, match="takes signatures"):
        add.s().link(follower)


def test_flatten_links_lists_signature_and_nested_callbacks() -> None:
    inner = ident.s()
    inner.link(b)
    sig = add.s()
    sig.link(inner)
    sig.link(a)
    assert sig.flatten_links() == [sig, inner, a, b]


def test_join_takes_signatures_as_dictionaries_and_refuses_others() -> None:
    sig = add.s(1)
    chained = add.s(1) | add.s(2)
    assert sig | dict(add.s(2)) == chained  # type: ignore[operator]
    assert dict(sig) | add.s(2) == chained
    with pytest.raises(TypeError):
        sig | {"x": 1}  # type: ignore[operator]
    with pytest.raises(TypeError):
        sig | add  # type: ignore[operator]
    sig |= add.s(2)  # type: ignore[assignment]
    assert sig == chained


# -- a task's own --------------------------------------------------------------------------------------


def test_task_signature_methods_give_equal_signatures() -> None:
    assert add.signature((2, 2), {"z": 1}, immutable=True, countdown=10) == Signature(
        "capapp.add", (2, 2), {"z": 1}, {"countdown": 10}, immutable=True
    )
    assert add.si(2) == add.s(2).set(immutable=True)
    assert add.s() == Signature(add)
