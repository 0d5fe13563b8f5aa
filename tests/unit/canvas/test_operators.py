"""``|``: Celery's algebra, as it was found by running Celery 5.7."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import chain, chord, group

from .jobs import S, a, add, b, c, d, e, ident, shown

TABLE = [
    (a | b | c, ("chain", "a", "b", "c")),
    ((a | b) | (c | d), ("chain", "a", "b", "c", "d")),
    (a | group(b), ("chain", "a", "b")),
    (a | group(b, c), ("chain", "a", ("group", "b", "c"))),
    (group(a, b) | c, ("chord", ("a", "b"), "c")),
    (group(a) | b, ("chord", ("a",), "b")),
    (group() | a, ("chord", (), "a")),
    (a | group() | b, ("chain", "a", ("chord", (), "b"))),
    (chain(a, group(), b), ("chain", "a", "b")),
    (group(a, b) | group(c, d), ("chord", ("a", "b"), ("group", "c", "d"))),
    (a | group(b, c) | d | e, ("chain", "a", ("chord", ("b", "c"), ("chain", "d", "e")))),
    (a | group(b, c) | group(d, e), ("chain", "a", ("group", "b", "c"), ("group", "d", "e"))),
    (
        group(a, b) | c | group(d, e) | S,
        ("chain", ("chord", ("a", "b"), ("chain", "c", ("chord", ("d", "e"), "S")))),
    ),
    (chord([a], b) | d, ("chord", ("a",), ("chain", "b", "d"))),
    (chord([a], b) | group(d), ("chord", ("a",), ("chain", "b", "d"))),
    (chord([a], b) | group(d, e), ("chain", ("chord", ("a",), "b"), ("group", "d", "e"))),
    (a | chord([b], c) | group(d, e), ("chain", "a", ("chord", ("b",), ("chain", "c", ("group", "d", "e"))))),
    (chord([a], b) | chord([c], d), ("chord", ("a",), ("chain", "b", ("chord", ("c",), "d")))),
    (chain(a), ("chain", "a")),
    (chain(), ("chain",)),
    (chain(group(a, b)), ("chain", ("group", "a", "b"))),
    # And what follows from these.
    (chain([a, b, c]), ("chain", "a", "b", "c")),
    (chain(x for x in (a, b)), ("chain", "a", "b")),
    (chain(a | b), ("chain", "a", "b")),
    (chain(a, b | c), ("chain", "a", "b", "c")),
    (chain(group(a, b), c), ("chain", ("chord", ("a", "b"), "c"))),
    (chain() | a, ("chain", "a")),
    (a | chain(), ("chain", "a")),
    (group(group(a)) | b, ("chord", ("a",), "b")),
    (a | group(group(b)), ("chain", "a", "b")),
    (chord([a], b) | (c | d), ("chord", ("a",), ("chain", "b", "c", "d"))),
    (a | chord([b], c), ("chain", "a", ("chord", ("b",), "c"))),
    (group(a, b) | chord([c], d), ("chord", ("a", "b"), ("chord", ("c",), "d"))),
    (chord([a], group(b, c)) | d, ("chord", ("a",), ("chord", ("b", "c"), "d"))),
    (chord([a]) | b, ("chord", ("a",), "b")),
    # A group of one is a group where nothing but another group comes before it.
    (chain(group(a)), ("chain", ("group", "a"))),
    (chain(group(a), b), ("chain", ("chord", ("a",), "b"))),
    (chain(group(), group(a), b), ("chain", ("chord", ("a",), "b"))),
    (group(a, b) | group(c), ("chord", ("a", "b"), ("group", "c"))),
    (chain(group(a, b), group(c)), ("chain", ("chord", ("a", "b"), ("group", "c")))),
    (a | group(b, c) | group(d), ("chain", "a", ("group", "b", "c"), ("group", "d"))),
    (chord([a], group(b, c)) | group(d), ("chord", ("a",), ("chord", ("b", "c"), ("group", "d")))),
    (chain(chord([a], b), group(d, e)), ("chain", ("chord", ("a",), "b"), ("group", "d", "e"))),
    (chain(chain(group(a)), group(b)), ("chain", ("chord", ("a",), ("group", "b")))),
    (chain(c, chain(chain(group(a)), group(b))), ("chain", "c", ("chord", ("a",), ("group", "b")))),
    (chain(chain(chain(a)), b), ("chain", "a", "b")),
    (chain(add.chunks([(1, 2)], 1), S), ("chain", ("chord", ("celery.starmap",), "S"))),
]


@pytest.mark.parametrize(("made", "form"), TABLE, ids=[str(form) for _, form in TABLE])
def test_joining_gives_celerys_form(made: Any, form: Any) -> None:
    assert shown(made) == form


def test_joining_leaves_its_operands_unchanged() -> None:
    left, right, last = chord([a], b), group(c, d), a | group(b, c)
    before = [shown(sig) for sig in (left, right, last)]
    left | right | S
    last | d | e
    left | d
    assert [shown(sig) for sig in (left, right, last)] == before


def test_chain_joined_to_a_chain_gives_its_options_to_its_links() -> None:
    inner = (b | c).set(queue="q")
    inner.link(d)
    inner.link_error(e)
    steps = (a | inner).tasks
    assert [step.options.get("queue") for step in steps] == [None, "q", None]
    assert [step.options.get("link") for step in steps] == [None, None, [d]]
    assert [step.options.get("link_error") for step in steps] == [None, [e], [e]]
    assert (inner | a).options == {"queue": "q"}
    assert [step.options for step in (inner | a).tasks] == [{"link_error": [e]}, {"link_error": [e], "link": [d]}, {}]
    assert b.options == {}


def test_chain_joined_after_freezing_keeps_the_ids_of_its_links() -> None:
    frozen = a | b
    result = frozen.freeze()
    longer = (frozen | c).freeze()
    assert longer.parent.id == result.id
    assert longer.id != result.id


def test_group_of_one_in_a_chain_gives_its_options_to_its_member() -> None:
    assert (a | group(b).set(queue="q")).tasks[1].options == {"queue": "q"}


def test_chunks_are_joined_as_a_group() -> None:
    parts = add.chunks([(1, 2), (3, 4)], 1)
    two = ("celery.starmap", "celery.starmap")
    assert shown(a | parts) == ("chain", "a", ("group", *two))
    assert shown(parts | S) == ("chord", two, "S")


# -- A28, A29 ------------------------------------------------------------------------------------


def test_link_of_a_group_is_refused() -> None:
    sig = group(a, b)
    with pytest.raises(TypeError, match="which makes it a chord"):
        sig.link(c)
    with pytest.raises(TypeError, match="a callback can't follow a group"):
        sig.apply_async(link=c)
    with pytest.raises(TypeError, match="a callback can't follow a group"):
        (a | sig).apply_async(link=c)


def test_errback_of_a_group_goes_to_each_member() -> None:
    sig = group(a, b)
    assert sig.link_error(c) is c
    assert [task.options["link_error"] for task in sig.tasks] == [[c]] * 2
    assert a.options == {}


def test_chain_as_a_header_is_taken_apart_with_a_warning() -> None:
    with pytest.warns(RuntimeWarning, match=r"chord\(\[chain\], body\)"):
        made = chord(a | b, S)
    assert shown(made) == ("chord", ("a", "b"), "S")
    assert shown(chord([a | b], S)) == ("chord", (("chain", "a", "b"),), "S")


def test_callbacks_and_errbacks_of_a_chord_go_to_its_body() -> None:
    body = S.clone()
    sig = chord([a], body)
    sig.link(ident.s())
    sig.link_error(b)
    assert sig.body is not None
    assert sig.body.options == {"link": [ident.s()], "link_error": [b]}
    assert a.options == body.options == {}
    with pytest.raises(TypeError, match="has no body yet"):
        chord([a]).link(b)


def test_errback_of_a_chord_goes_to_members_too_when_allowed(settings: Any) -> None:
    settings.TASKQ_ALLOW_ERROR_CB_ON_CHORD_HEADER = True
    for header in ([a, b], group(a, b)):
        sig = chord(header, S)
        sig.link_error(c)
        assert [task.options["link_error"] for task in sig.tasks] == [[c], [c]]
        assert sig.body is not None
        assert sig.body.options["link_error"] == [c]
    assert a.options == {}


# -- what can't be -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [group, chain, lambda *tasks: chord(list(tasks), S)])
def test_members_that_are_no_signatures_are_refused(make: Any) -> None:
    with pytest.raises(TypeError, match=r"takes signatures, as add\.s\(2, 2\), not 4"):
        make(a, 4)
    assert make(a, dict(b)).tasks == [a, b]
