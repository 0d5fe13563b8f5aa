"""Combining random canvases changes none of them, and what is made of them shares nothing with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq import chain, chord, group, signature
from taskq.canvas.signature import Signature
from taskq.workflows.plan import plan
from tests.support.canvases import Canvas, built
from tests.support.jobs import pure
from tests.support.length import FULL

from .test_canvases import canvases, form


def errback() -> Any:
    return pure.identity.s(0)


#: The ways of combining: each makes a canvas of two others.
COMBINED: dict[str, Callable[[Any, Any], Any]] = {
    "or": lambda a, b: a | b,
    "chain": lambda a, b: chain(a, b),
    "chain_of_one": lambda a, b: chain(a),
    "group": lambda a, b: group(a, b),
    "group_of_one": lambda a, b: group(a) | b,
    "chord": lambda a, b: chord([a, a], b),
    "header": lambda a, b: chord(a if isinstance(a, group) else [a], b),
    "then": lambda a, b: chord([b]).then(a),
    "clone": lambda a, b: a.clone(),
    "signature": lambda a, b: signature(a),
    "from_dict": lambda a, b: Signature.from_dict(dict(a)),
    "more": lambda a, b: (a | b) | chain(b, a),
}


def parts(sig: Any) -> Iterator[Any]:
    """Yield ``sig`` and every signature in it."""
    yield sig
    for part in [*(getattr(sig, "tasks", None) or ()), getattr(sig, "body", None)]:
        if part is not None:
            yield from parts(part)


def changed(sig: Any) -> None:
    """Change every part of ``sig`` in every way."""
    sig.stamp(order="1")
    for part in list(parts(sig)):
        part.set(queue="x", immutable=True)
        if not isinstance(part, group):
            part.options["link"] = [errback()]
        if not (isinstance(part, chord) and part.body is None):
            part.link_error(errback())
            part.on_error(errback().set(queue="y"))


@settings(max_examples=1000 if FULL else 150, deadline=None)
@given(way=st.sampled_from(sorted(COMBINED)), first=canvases(), second=canvases(), data=st.data())
def test_combining_changes_no_signature(way: str, first: Canvas, second: Canvas, data: st.DataObject) -> None:
    allowed, options = data.draw(st.booleans()), data.draw(st.booleans())
    with override_settings(TASKQ_ALLOW_ERROR_CB_ON_CHORD_HEADER=allowed):
        a, b = built(first), built(second)
        if options:
            for each in (a, b):
                each.set(queue="q")
                each.link_error(errback())
        before = form([a, b])
        made = COMBINED[way](a, b)
        assert form([a, b]) == before
        changed(made)
        assert form([a, b]) == before


@given(canvas=canvases())
def test_planning_changes_no_signature(canvas: Canvas) -> None:
    sig = built(canvas)
    before = form(sig)
    for options in ({}, {"link_error": errback()}, {"countdown": 5, "queue": "q"}):
        made = plan(sig, (1,), **options)
        list(made.envelopes), list(made.nodes)
        assert form(sig) == before
    chain(sig).freeze()
    assert form(sig) == before
