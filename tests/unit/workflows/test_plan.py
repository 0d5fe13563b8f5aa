"""Plans: what a call sends now, the rows of groups and nodes, and what a worker sends later."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq import Signature, chain, chord, group
from taskq.results import serialization
from taskq.results.group_result import GroupResult
from taskq.results.serialization import from_frozen
from taskq.workflows.plan import is_member, next_after, plan, plan_body, plan_frozen
from tests.unit.canvas.jobs import S, a, add, b, body_of, c, call, calls, d, e, embed_of, ident, messages
from tests.unit.workflows.tails import tail

# -- empty and single ones: A7, A8, A9 ---------------------------------------------------------


def test_an_empty_chain_sends_nothing() -> None:
    made = plan(chain())
    assert (made.result, messages(made), made.groups, list(made.nodes)) == (None, [], [], [])


def test_an_empty_group_sends_nothing() -> None:
    made = plan(group())
    assert isinstance(from_frozen(made.result), GroupResult)  # type: ignore[arg-type]
    assert (messages(made), made.groups, list(made.nodes)) == ([], [], [])


@pytest.mark.parametrize("sig", [group() | S, chord([], S)], ids=repr)
def test_body_of_an_empty_header_is_sent_at_once(sig: Any) -> None:
    made = plan(sig)
    sent = messages(made)
    assert calls(sent) == [("capapp.tsum", [[]])]
    assert made.result.id == sent[0].task_id  # type: ignore[union-attr]
    assert (sent[0].headers["group"], made.groups) == (None, [])


def test_body_of_an_empty_header_in_a_chain_follows_the_link_before() -> None:
    (first,) = messages(plan(a | group() | S | b))
    made = next_after(embed_of(first), "x", task_id=first.task_id, root_id=first.task_id)
    sent = messages(made)
    assert calls(sent) == [("capapp.tsum", [[]])]
    assert [step["task"] for step in tail(sent[0])] == ["b"]


def test_group_of_one_is_a_link_in_a_chain_and_a_header_before_a_body() -> None:
    (only,) = messages(plan(a | group(b)))
    assert [step["task"] for step in tail(only)] == ["b"]
    made = plan(group(b) | S)
    assert [made_group.size for made_group in made.groups] == [1]


# -- groups -----------------------------------------------------------------------------------------


def test_members_of_a_group_have_its_id_and_their_index() -> None:
    made = plan(group(a, group(b, c)), ("x",))
    sent = messages(made)
    (row,) = made.groups
    assert calls(sent) == [("a", ["x"]), ("b", ["x"]), ("c", ["x"])]
    assert [(m.headers["group"], m.headers["group_index"]) for m in sent] == [(row.group_id, i) for i in range(3)]
    assert all(is_member(m.headers) for m in sent)
    assert (row.size, row.body, row.root_id, row.parent_id) == (3, None, sent[0].task_id, "")
    assert made.result.id == row.group_id  # type: ignore[union-attr]
    assert [each.id for each in made.result.members] == [m.task_id for m in sent]  # type: ignore[union-attr]
    assert made.children == [made.result]


def test_group_without_a_body_counts_only_members_that_end_in_a_task() -> None:
    made = plan(group(a, b | group(c, d)))
    counter, kept = made.groups
    assert (counter.size, counter.body, kept.size) == (1, None, 0)
    assert serialization.from_tuple(json.loads(kept.body or "")) == from_frozen(made.result)  # type: ignore[arg-type]
    assert len(messages(made)) == 2


def test_last_link_of_a_chain_in_a_header_is_the_member() -> None:
    made = plan(chord([a | b, c], S))
    first, second = messages(made)
    (row,) = made.groups
    assert (first.headers["group"], first.headers["group_index"]) == (None, None)
    assert not is_member(first.headers)
    (last,) = tail(first)
    assert (last["options"]["group_id"], last["options"]["group_index"]) == (row.group_id, 0)
    assert last["options"]["chord"] == embed_of(second)["chord"]
    body = json.loads(row.body or "")
    assert last["options"]["chord"]["task"] == body["task"]
    assert last["options"]["chord"]["options"] == {"task_id": body["options"]["task_id"]}


def test_chord_in_a_header_counts_by_its_body() -> None:
    made = plan(chord([chord([a, b], c), d], S))
    rows = {json.loads(row.body or "")["task"]: row for row in made.groups}
    assert {name: row.size for name, row in rows.items()} == {"c": 2, "capapp.tsum": 2}
    body = json.loads(rows["c"].body or "")
    assert (body["options"]["group_id"], body["options"]["group_index"]) == (rows["capapp.tsum"].group_id, 0)
    sent = messages(plan_body(body, ["A", "B"], root_id="r", parent_id="p"))
    assert is_member(sent[0].headers)
    assert sent[0].headers["group"] == rows["capapp.tsum"].group_id
    assert embed_of(sent[0])["chord"]["task"] == "capapp.tsum"


def test_body_is_no_member_of_its_own_header() -> None:
    made = plan(chord([a], S))
    body = made.groups[0].body
    assert body is not None
    assert json.loads(body)["options"]["group_id"] == made.groups[0].group_id
    (sent,) = messages(plan_body(body, [1, 2], root_id="r", parent_id="p"))
    assert sent.headers["group"] is None
    assert (sent.task_id, body_of(sent)[0]) == (made.result.id, [[1, 2]])  # type: ignore[union-attr]
    assert (sent.headers["root_id"], sent.headers["parent_id"], sent.reset) == ("r", "p", False)


def test_body_that_is_a_group_sends_its_members_the_values() -> None:
    made = plan(chord([a], group(b, c)))
    sent = messages(plan_body(made.groups[0].body or "", [1], root_id="r", parent_id="p"))
    assert calls(sent) == [("b", [[1]]), ("c", [[1]])]
    assert [m.task_id for m in sent] == [each.id for each in made.result.members]  # type: ignore[union-attr]


def test_rest_of_a_chain_behind_a_chord_is_in_its_body() -> None:
    frozen, _ = _frozen(chord([a], b))
    rest, _ = _frozen(c | d)
    made = plan_frozen(frozen, chain=rest["kwargs"]["tasks"][::-1])
    body = json.loads(made.groups[0].body or "")
    (sent,) = messages(plan_body(body, [1], root_id="r", parent_id="p"))
    assert [step["task"] for step in tail(sent)] == ["c", "d"]


def _frozen(sig: Any) -> tuple[Any, Any]:
    from taskq.workflows.freezing import Freezer

    return Freezer().freeze(sig)


@pytest.mark.parametrize("sig", [a | group(b, c), Signature.from_dict(json.loads(json.dumps(group(b, c))))], ids=repr)
def test_group_with_a_rest_of_a_chain_is_planned_as_a_chord(sig: Any) -> None:
    frozen, _ = _frozen(sig)
    rest, _ = _frozen(d)
    step = frozen["kwargs"]["tasks"][1] if frozen["subtask_type"] == "chain" else frozen
    made = plan_frozen(step, ("x",), chain=[rest])
    assert [json.loads(row.body or "")["task"] for row in made.groups] == ["d"]
    assert calls(messages(made)) == [("b", ["x"]), ("c", ["x"])]


# -- options: A31 --------------------------------------------------------------------------------------


OPTIONS: list[dict[str, Any]] = [
    {"countdown": 100},
    {"queue": "q"},
    {"priority": 3},
    {"expires": 60},
    {"headers": {"x": 1}},
    {"time_limit": 9},
    {"ignore_result": True},
]


def carried(envelope: Any, option: str) -> Any:
    headers = envelope.headers
    return {
        "countdown": envelope.delay > 0,
        "queue": envelope.queue,
        "priority": envelope.priority,
        "expires": envelope.expires is not None,
        "headers": headers.get("x"),
        "time_limit": headers["timelimit"][0],
        "ignore_result": headers["ignore_result"],
    }[option]


def wanted(options: dict[str, Any]) -> Any:
    ((option, value),) = options.items()
    return {"countdown": True, "expires": True, "headers": 1}.get(option, value)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_call_options_go_to_the_tasks_sent_first(options: dict[str, Any]) -> None:
    (option,) = options
    (first,) = messages(plan(a | b, **options))
    assert carried(first, option) == wanted(options)
    assert option not in tail(first)[0]["options"]
    assert [carried(m, option) for m in messages(plan(group(a, b), **options))] == [wanted(options)] * 2
    made = plan(chord([a, b], c), **options)
    assert [carried(m, option) for m in messages(made)] == [wanted(options)] * 2
    body = json.loads(made.groups[0].body or "")
    assert (option in body["options"]) is (option != "countdown")
    assert made.result.id == body["options"]["task_id"]  # type: ignore[union-attr]


def test_options_set_on_a_canvas_are_call_options() -> None:
    (first,) = messages(plan((a | b).set(queue="q")))
    assert (first.queue, tail(first)[0]["options"].get("queue")) == ("q", None)
    assert [m.queue for m in messages(plan(group(a, b).set(queue="q")))] == ["q", "q"]
    made = plan(chord([a], b).set(queue="q"))
    assert [m.queue for m in messages(made)] == ["q"]
    assert json.loads(made.groups[0].body or "")["options"]["queue"] == "q"
    assert [m.queue for m in messages(plan(group(a, b | c).set(queue="q"), queue="r"))] == ["r", "r"]


def test_call_arguments_go_to_the_tasks_sent_first() -> None:
    assert calls(messages(plan(add.s(1) | add.s(2), (0,)))) == [("capapp.add", [0, 1])]
    assert calls(messages(plan(chord([add.s(1), add.si(8, 9)], S), (0,)))) == [
        ("capapp.add", [0, 1]),
        ("capapp.add", [8, 9]),
    ]
    made = messages(plan(group(call.s(1, k=1), call.s()), (0,), {"k": 2}))
    assert [body_of(m)[:2] for m in made] == [[[0, 1], {"k": 2}], [[0], {"k": 2}]]
    assert calls(messages(plan(group(add.s(1)).clone((7,)), (0,)))) == [("capapp.add", [0, 7, 1])]
    immutable = chain(call.s(1))
    immutable.set_immutable(True)
    assert body_of(messages(plan(immutable, (0,), {"k": 1}))[0])[:2] == [[1], {}]


def test_link_and_link_error_of_a_call_go_to_last_task_and_all_tasks() -> None:
    made = plan(chord([a], b), link=ident.s(), link_error=[c])
    body = json.loads(made.groups[0].body or "")
    assert [each["task"] for each in body["options"]["link"]] == ["capapp.ident"]
    assert [each["task"] for each in body["options"]["link_error"]] == ["c"]
    (first,) = messages(plan(a | b, link=ident.s(), link_error=c))
    assert embed_of(first)["callbacks"] is None
    assert [each["task"] for each in embed_of(first)["errbacks"]] == ["c"]
    assert [each["task"] for each in tail(first)[0]["options"]["link"]] == ["capapp.ident"]


def test_maps_and_chunks_are_routed_as_their_task(settings: Any) -> None:
    settings.TASKQ_ROUTES = {"capapp.add": {"queue": "adding"}}
    assert [m.queue for m in messages(plan(add.chunks([(1, 2)], 1)))] == ["adding"]
    assert [m.queue for m in messages(plan(add.map([1])))] == ["adding"]
    assert [m.queue for m in messages(plan(group(a, add.s()), route_name="capapp.add"))] == ["adding", "adding"]


# -- rows ---------------------------------------------------------------------------------------------------


def test_nodes_have_group_position_and_predecessor() -> None:
    made = plan(a | group(b, c | d) | e)
    nodes = list(made.nodes)
    ids = {node.name: node.task_id for node in nodes}
    (first,) = messages(made)
    group_id = tail(first)[0]["options"]["task_id"]
    assert [(n.name, n.kind, n.group_id, n.position, n.waits_for) for n in nodes] == [
        ("a", "task", "", 0, ""),
        ("b", "task", group_id, 0, ids["a"]),
        ("c", "task", "", 0, ids["a"]),
        ("d", "task", group_id, 1, ids["c"]),
        ("e", "body", "", 0, group_id),
    ]
    assert {n.root_id for n in nodes} == {first.task_id}
    assert made.result.id == ids["e"]  # type: ignore[union-attr]


def test_a_chain_of_one_has_no_node() -> None:
    assert list(plan(chain(a)).nodes) == []


def test_a_body_without_a_header_has_no_node() -> None:
    assert list(plan(chord([], a)).nodes) == []


def test_node_of_a_body_behind_an_empty_header_waits_for_its_predecessor() -> None:
    first, body = plan(a | chord([], b)).nodes
    assert body.waits_for == first.task_id


def test_a_task_alone_has_no_node() -> None:
    assert list(plan(a).nodes) == []


def test_messages_with_a_given_id_are_marked_for_reset() -> None:
    assert [m.reset for m in messages(plan(group(a, b.clone().set(task_id="known"))))] == [False, True]
    assert [m.reset for m in messages(plan(a, task_id="known"))] == [True]
    assert [m.reset for m in messages(plan(a))] == [False]


def test_ignored_results_of_a_group_are_those_of_its_members() -> None:
    result = plan(group(a, b), ignore_result=True).result
    assert result is not None
    assert [member.ignored for member in result.members or ()] == [True, True]
