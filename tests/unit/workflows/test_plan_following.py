"""Plans of what is sent in a running task, and by a worker after one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from taskq import chain, group
from taskq.calls import context
from taskq.calls.context import Context
from taskq.canvas.stamping import stamped
from taskq.results.serialization import from_frozen
from taskq.workflows.freezing import Freezer
from taskq.workflows.plan import (
    ADDED,
    is_member,
    next_after,
    plan,
    plan_added,
    plan_body,
    plan_errback,
    plan_replacement,
)
from tests.unit.canvas.jobs import S, a, add, b, c, calls, d, e, embed_of, ident, messages
from tests.unit.workflows.tails import tail


def as_it_is(sig: Any) -> Any:
    """Stamp nothing."""
    return sig


# -- inside a running task -------------------------------------------------------------------------------------


@pytest.fixture
def request_() -> Iterator[Context]:
    """Have a task run here, which is in a chord and has a rest of a chain."""
    last = dict(S)
    running = Context(
        add,
        called_directly=False,
        id="me",
        root_id="root",
        message={
            "group": "g",
            "group_index": 4,
            "replaced_task_nesting": 1,
            "stamped_headers": ["tenant"],
            "stamps": {"tenant": "t1"},
        },
        embed={"callbacks": [dict(ident.s())], "errbacks": [dict(c)], "chain": None, "chord": last},
    )
    token = context.enter(running)
    yield running
    context.leave(token)


def test_running_task_is_parent_of_a_plan_unless_given_otherwise(request_: Context) -> None:
    made = plan(group(a, b | c))
    assert [(m.headers["root_id"], m.headers["parent_id"]) for m in messages(made)] == [("root", "me")] * 2
    assert {node.root_id for node in made.nodes} == {"root"}
    assert [(row.root_id, row.parent_id) for row in made.groups] == [("root", "me")]
    (sent,) = messages(plan(a, root_id="r", parent_id="p"))
    assert (sent.headers["root_id"], sent.headers["parent_id"]) == ("r", "p")


def test_replacement_takes_over_id_group_followers_and_stamps(request_: Context) -> None:
    made = plan_replacement(d | e, request_, partial(stamped, request=request_))
    (first,) = messages(made)
    (last,) = tail(first)
    options = last["options"]
    assert (first.headers["group"], first.headers["replaced_task_nesting"]) == (None, 2)
    assert (options["task_id"], options["group_id"], options["group_index"]) == ("me", "g", 4)
    assert options["chord"]["task"] == "capapp.tsum"
    assert [each["task"] for each in options["link"]] == ["capapp.ident"]
    assert [[x["task"] for x in embed_of(first)["errbacks"]], [x["task"] for x in options["link_error"]]] == [["c"]] * 2
    assert [first.headers["stamps"], options["tenant"]] == [{"tenant": "t1"}, "t1"]
    assert made.children == []


def test_replacement_takes_over_the_rest_of_the_chain(request_: Context) -> None:
    request_.embed = {"chain": [dict(e.clone().set(task_id="e")), dict(d.clone().set(task_id="d"))]}
    request_.message = {}
    (sent,) = messages(plan_replacement(a, request_, as_it_is))
    assert (sent.task_id, [step["options"]["task_id"] for step in tail(sent)]) == ("me", ["d", "e"])


def test_group_as_a_replacement_is_accumulated_into_one_value(request_: Context) -> None:
    made = plan_replacement(group(a, b), request_, as_it_is)
    body = json.loads(made.groups[0].body or "")
    assert (body["task"], body["options"]["task_id"]) == ("celery.accumulate", "me")
    assert (body["options"]["group_id"], body["options"]["group_index"]) == ("g", 4)


def test_stamps_are_on_the_task_that_accumulates_a_group(request_: Context) -> None:
    for plan_of in (plan_replacement, plan_added):
        made = plan_of(group(a, b), request_, partial(stamped, request=request_))
        body = json.loads(made.groups[0].body or "")
        assert (body["task"], body["options"]["tenant"]) == ("celery.accumulate", "t1")


def test_empty_chain_and_chord_member_are_refused_as_replacement(request_: Context) -> None:
    with pytest.raises(ImproperlyConfigured, match="empty chain"):
        plan_replacement(chain(), request_, as_it_is)
    with pytest.raises(ImproperlyConfigured, match="member of a chord already"):
        plan_replacement(a.clone().set(chord=S), request_, as_it_is)


def test_member_added_to_a_chord_counts_by_its_last_task(request_: Context) -> None:
    made = plan_added(a | b, request_, as_it_is)
    (first,) = messages(made)
    options = tail(first)[0]["options"]
    assert (options["group_id"], options["group_index"], options["chord"]["task"]) == ("g", ADDED, "capapp.tsum")
    assert [(node.name, node.group_id) for node in made.nodes] == [("a", ""), ("b", "g")]
    made = plan_added(a, request_, as_it_is)
    assert [(node.name, node.group_id) for node in made.nodes] == [("a", "g")]
    assert made.groups == []
    assert [json.loads(row.body or "")["task"] for row in plan_added(group(a, b), request_, as_it_is).groups] == [
        "celery.accumulate"
    ]


def test_nothing_is_added_to_a_chord_by_a_task_that_does_not_count_in_one(request_: Context) -> None:
    embed, message = request_.embed, dict(request_.message)
    for request_.embed, request_.message in (
        ({}, message),
        (embed, {}),
        (embed, {"group_index": 4}),
        (embed, {"group": "g"}),  # the body of a chord has its group without a position
    ):
        with pytest.raises(ValueError, match="in none"):
            plan_added(a, request_, as_it_is)


def test_replacement_of_a_body_is_in_no_group(request_: Context) -> None:
    request_.message, request_.embed = {"group": "g"}, {}
    (sent,) = messages(plan_replacement(a, request_, as_it_is))
    assert sent.headers["group"] is None


# -- after a task ------------------------------------------------------------------------------------------------


def test_success_sends_callbacks_and_next_link() -> None:
    embed = {"callbacks": [dict(c), dict(group(d, e))], "chain": [dict(b.clone().set(task_id="b", queue="q"))]}
    made = next_after(embed, "v", task_id="t", root_id="r")
    sent = messages(made)
    assert calls(sent) == [("c", ["v"]), ("d", ["v"]), ("e", ["v"]), ("b", ["v"])]
    assert {(m.headers["root_id"], m.headers["parent_id"]) for m in sent} == {("r", "t")}
    assert (sent[-1].task_id, sent[-1].queue) == ("b", "q")
    assert [type(from_frozen(child)).__name__ for child in made.children] == [
        "AsyncResult",
        "GroupResult",
        "AsyncResult",
    ]
    assert [(node.name, node.waits_for, node.root_id) for node in made.nodes] == [("d", "t", "r"), ("e", "t", "r")]
    assert not any(m.reset for m in sent)


def test_group_body_with_a_chain_in_its_options_is_planned_as_a_chord() -> None:
    """Celery sends a chord whose body is a group with the rest of its chain in the group's options."""
    body, _ = Freezer().freeze(group(a | group(b, c), d))
    body["options"]["chain"] = [Freezer().freeze(S)[0]]
    made = plan_body(body, [1], root_id="r", parent_id="p")
    sent = messages(made)
    assert calls(sent) == [("a", [[1]]), ("d", [[1]])]
    (counted,) = made.groups
    assert (counted.size, json.loads(counted.body or "")["task"]) == (2, "capapp.tsum")
    (closing,) = tail(sent[0])
    assert closing["kwargs"]["body"]["task"] == "celery.accumulate"
    assert closing["kwargs"]["body"]["options"]["group_id"] == counted.group_id


def test_single_callback_need_not_be_in_a_list() -> None:
    assert calls(messages(next_after({"callbacks": dict(c)}, 1, task_id="t", root_id="r"))) == [("c", [1])]
    nothing = next_after({"callbacks": None, "chain": []}, 1, task_id="t", root_id="r")
    assert (messages(nothing), nothing.children) == ([], [])


def test_callback_with_only_a_task_name_is_sent() -> None:
    made = next_after({"callbacks": [{"task": "c"}]}, 1, task_id="t", root_id="r")
    assert calls(messages(made)) == [("c", [1])]


def test_immutable_next_link_gets_no_value() -> None:
    embed = {"chain": [dict(add.si(5, 5).set(task_id="b"))]}
    assert calls(messages(next_after(embed, 1, task_id="t", root_id="r"))) == [("capapp.add", [5, 5])]


def test_arguments_of_follow_ups_are_not_checked(settings: Any) -> None:
    settings.TASKQ_TYPING = True
    assert len(messages(next_after({"chain": [dict(add.s())]}, 1, task_id="t", root_id="r"))) == 1
    with pytest.raises(TypeError, match="missing a required argument"):
        messages(plan(group(add.s(1))))


def test_errback_of_the_old_style_gets_the_task_id() -> None:
    (sent,) = messages(plan_errback(dict(c), task_id="t", root_id="r"))
    assert (calls([sent]), sent.headers["parent_id"]) == ([("c", ["t"])], "t")


@pytest.mark.parametrize(
    ("headers", "member"),
    [({"group": "g", "group_index": 0}, True), ({"group": "g"}, False), ({"group_index": 1}, False), ({}, False)],
)
def test_only_headers_with_group_and_index_are_a_members(headers: Any, member: bool) -> None:
    assert is_member(headers) is member
