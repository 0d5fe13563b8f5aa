"""What a failure reaches."""

from __future__ import annotations

import json
from typing import Any

from taskq import chord, group
from taskq.records import Unreachable
from taskq.workflows.dependents import dependents, dependents_of, failing_tasks_of
from taskq.workflows.plan import plan
from tests.unit.canvas.jobs import S, a, b, c, d, e, embed_of, ident, messages


def names(found: list[Unreachable]) -> list[tuple[str, bool]]:
    return [(each.name, bool(each.group_id)) for each in found]


def first(sig: Any) -> Any:
    return embed_of(messages(plan(sig))[0])


def test_dependents_of_a_link_are_the_rest_of_the_chain() -> None:
    result = plan(a | b | c)
    (sent,) = messages(result)
    found = dependents(embed_of(sent))
    assert names(found) == [("b", False), ("c", False)]
    assert found[-1].task_id == result.result.id  # type: ignore[union-attr]
    assert dependents({"chain": None}) == []


def test_dependents_include_members_and_bodies_of_later_chords() -> None:
    assert names(dependents(first(a | group(b, c | d) | e | group(a, b)))) == [
        ("b", False), ("c", False), ("d", False), ("e", False), ("a", False), ("b", False),
    ]  # fmt: skip


def test_only_the_last_dependent_of_a_member_names_the_group() -> None:
    made = plan(chord([a | group(b, c) | d, e], S))
    sent = messages(made)
    (row,) = made.groups
    found = dependents(embed_of(sent[0]))
    assert [(each.name, each.group_id) for each in found] == [("b", ""), ("c", ""), ("d", row.group_id)]
    assert dependents(embed_of(sent[1])) == []


def test_dependents_of_a_group_are_its_body_and_the_tasks_behind_it() -> None:
    made = plan(chord([chord([a], b | c), d], S | e))
    inner, outer = sorted(made.groups, key=lambda row: len(row.body or ""))[::-1]
    assert names(dependents_of(inner.body or "")) == [("b", False), ("c", True)]
    assert dependents_of(inner.body or "")[1].group_id == outer.group_id
    assert names(dependents_of(json.loads(outer.body or ""))) == [("capapp.tsum", False), ("e", False)]


def test_callbacks_with_an_id_are_dependents() -> None:
    known = ident.s()
    known.freeze("known")
    sig = a.clone()
    sig.link(known)
    sig.link(c)
    assert names(dependents(first(sig | d))) == [("d", False), ("capapp.ident", False)]


def errbacks_of(body: Any) -> list[tuple[str, list[str]]]:
    return [(headers["task"], [each["task"] for each in called]) for headers, called in failing_tasks_of(body)]


def test_failing_tasks_of_a_body_are_its_first_tasks_with_their_errbacks() -> None:
    assert errbacks_of(S) == [("capapp.tsum", [])]
    body = S.clone().on_error(a)
    body.freeze("id")
    assert errbacks_of(json.dumps(body)) == [("capapp.tsum", ["a"])]
    assert failing_tasks_of(body)[0][0]["id"] == "id"
    chained = (S | b).on_error(a)
    chained.freeze()
    assert errbacks_of(chained) == [("capapp.tsum", ["a"])]
    both = group(b.clone().on_error(a), c.clone().on_error(a).on_error(d))
    assert errbacks_of(both) == [("b", ["a"]), ("c", ["a", "d"])]
    inner = chord([b.clone().on_error(d)], c.clone().on_error(e))
    assert errbacks_of(inner) == [("c", ["e"])]


def test_ids_that_are_numbers_are_as_rows_have_them() -> None:
    sig = {"task": "t", "args": [], "kwargs": {}, "options": {"task_id": -1, "group_id": 7, "group_index": 0}}
    assert dependents({"callbacks": [sig]}) == [Unreachable("-1", "t", "7")]
