"""Stamps: A42."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq import StampingVisitor, chain, chord, group
from taskq.records import Envelope
from taskq.workflows.plan import next_after, plan, plan_body

from .jobs import S, a, b, c, d, e, embed_of, ident, messages


def stamps(envelope: Envelope) -> Any:
    return envelope.headers["stamps"]


def test_stamps_are_on_every_task_of_a_canvas() -> None:
    sig = a | group(b, c) | d
    sig.stamp(tenant="t1")
    (first,) = messages(plan(sig))
    step = next_after(embed_of(first), 1, task_id="t", root_id="r")
    members = messages(step)
    body = messages(plan_body(step.groups[0].body or "", [1], root_id="r", parent_id="p"))
    assert [stamps(each) for each in (first, *members, *body)] == [{"tenant": "t1"}] * 4
    assert a.options == {}


def test_stamps_are_on_callbacks_and_errbacks() -> None:
    sig = a.clone()
    sig.link(ident.s())
    sig.link_error(b)
    sig.stamp(tenant="t1")
    (first,) = messages(plan(sig))
    embed = embed_of(first)
    assert [each["options"]["tenant"] for each in (*embed["callbacks"], *embed["errbacks"])] == ["t1", "t1"]
    (callback,) = messages(next_after(embed, 1, task_id="t", root_id="r"))
    assert (stamps(callback), callback.headers["stamped_headers"]) == ({"tenant": "t1"}, ["tenant"])
    assert b.options == {}


def test_a_stamp_stays_unless_values_are_appended() -> None:
    sig = a.clone()
    sig.stamp(x=1)
    sig.stamp(x=2, y=3)
    assert (sig.options["x"], sig.options["y"], sig.options["stamped_headers"]) == (1, 3, ["x", "y"])
    sig.stamp(append_stamps=True, x=[2, 1])
    assert sig.options["x"] == [1, 2]


@pytest.mark.parametrize("name", ["task_id", "queue", "link", "stamps", "group_id"])
def test_stamps_named_as_options_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"can't be named '{name}'"):
        a.clone().stamp(**{name: 1})


def test_stamp_that_is_a_set_is_sent_as_a_list(sent: list[Envelope]) -> None:
    sig = a.clone()
    sig.stamp(x={1, 2})
    sig.delay()
    assert sorted(stamps(sent[0])["x"]) == [1, 2]


class Visitor(StampingVisitor):
    """Writes down where it has been, and stamps each kind of place."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_signature(self, sig: Any, **headers: Any) -> Any:
        self.seen.append(sig.task)
        return {"own": sig.task, "not": 1, "stamped_headers": ["own"]}

    def on_chain_start(self, sig: Any, **headers: Any) -> Any:
        self.seen.append("chain(")
        return {"steps": len(sig.tasks)}

    def on_chain_end(self, sig: Any, **headers: Any) -> None:
        self.seen.append(")")

    def on_group_start(self, sig: Any, **headers: Any) -> Any:
        self.seen.append("group(")
        return {"members": len(sig.tasks)}

    def on_group_end(self, sig: Any, **headers: Any) -> None:
        self.seen.append(")")

    def on_chord_header_start(self, sig: Any, **headers: Any) -> Any:
        self.seen.append("header(")
        return {"header": True}

    def on_chord_header_end(self, sig: Any, **headers: Any) -> None:
        self.seen.append(")")

    def on_chord_body(self, sig: Any, **headers: Any) -> Any:
        self.seen.append("body:")
        return {"body": True}

    def on_callback(self, callback: Any, **headers: Any) -> Any:
        self.seen.append("callback:")
        return {"callback": True}

    def on_errback(self, errback: Any, **headers: Any) -> Any:
        self.seen.append("errback:")
        return {"errback": True}


def test_visitor_stamps_every_kind_of_place() -> None:
    visitor = Visitor()
    linked = b.clone().on_error(e)
    linked.link(d)
    sig: Any = chain(a, chord([linked, group(c)], S))
    sig.stamp(visitor)
    assert " ".join(visitor.seen) == ("chain( a header( b callback: d errback: e group( c ) ) body: capapp.tsum )")
    first, inner = sig.tasks
    marked = inner.tasks[0]
    assert first.options == {"steps": 2, "own": "a", "stamped_headers": ["steps", "own"]}
    assert {name: marked.options[name] for name in ("steps", "header", "own")} == {
        "steps": 2, "header": True, "own": "b",
    }  # fmt: skip
    assert marked.options["link"][0].options["callback"]
    assert marked.options["link_error"][0].options["errback"]
    assert inner.tasks[1].tasks[0].options["members"] == 1
    assert inner.body.options["body"]
    assert "header" not in inner.body.options
    json.dumps(sig)


def test_visitor_must_implement_on_signature() -> None:
    with pytest.raises(NotImplementedError):
        a.clone().stamp(StampingVisitor())
