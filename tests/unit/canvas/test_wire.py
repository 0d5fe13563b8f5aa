"""What a canvas is on the wire, compared with what Celery 5.7 sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq import chain, chord, group
from taskq.records import Envelope
from taskq.workflows.plan import plan

from .jobs import Ids, add, body_of, messages, tsum

PLAIN = {"subtask_type": None, "immutable": False}


def sig(*args: Any, task: str = "capapp.add", **options: Any) -> dict[str, Any]:
    return {"task": task, "args": list(args), "kwargs": {}, "options": options, **PLAIN}


def embed(**parts: Any) -> dict[str, Any]:
    return {"callbacks": None, "errbacks": None, "chain": None, "chord": None} | parts


def headers(envelope: Envelope, ids: Ids) -> Any:
    names = ("id", "group", "group_index", "root_id", "parent_id", "argsrepr", "kwargsrepr", "replaced_task_nesting")
    return [ids.of(envelope.headers[name]) for name in names]


def bodies(canvas: Any, args: Any = ()) -> tuple[list[Any], list[Any]]:
    """Return headers and bodies with ids named in their order, and ``reply_to`` as it always is."""
    sent = messages(plan(canvas, args))
    ids = Ids(oid=sent[0].properties["reply_to"])
    return [headers(envelope, ids) for envelope in sent], [ids.of(body_of(envelope)) for envelope in sent]


def test_chain_on_the_wire() -> None:
    head, body = bodies(add.s(1, 2) | add.s(3) | add.s(4))
    assert head == [["id1", None, None, "id1", None, "(1, 2)", "{}", 0]]
    rest = [sig(4, task_id="id2", reply_to="oid"), sig(3, task_id="id3", reply_to="oid")]
    assert body == [[[1, 2], {}, embed(chain=rest)]]


def test_group_on_the_wire() -> None:
    head, body = bodies(group(add.s(1, 1), add.s(2, 2)))
    assert head == [
        ["id1", "id2", 0, "id1", None, "(1, 1)", "{}", 0],
        ["id3", "id2", 1, "id3", None, "(2, 2)", "{}", 0],
    ]
    assert body == [[[1, 1], {}, embed()], [[2, 2], {}, embed()]]


def test_chord_on_the_wire_for_celerys_workers(settings: Any) -> None:
    settings.TASKQ_BROKER_URL = "redis://localhost"  # which Celery's workers read too
    head, body = bodies(chord([add.s(1, 1), add.s(2, 2)], tsum.s()))
    assert head == [
        ["id1", "id2", 0, "id1", None, "(1, 1)", "{}", 0],
        ["id3", "id2", 1, "id3", None, "(2, 2)", "{}", 0],
    ]
    last = sig(task="capapp.tsum", task_id="id4", reply_to="oid", group_id="id2")
    assert body == [[[1, 1], {}, embed(chord=last)], [[2, 2], {}, embed(chord=last)]]


def test_chord_on_the_wire_has_a_stub_of_its_body_where_the_group_has_a_row() -> None:
    head, body = bodies(chord([add.s(1, 1), add.s(2)], tsum.s(5).set(queue="q") | add.s(1)))
    assert [each[1:3] for each in head] == [["id2", 0], ["id2", 1]]
    stub = {**sig(task="celery.chain", task_id="id4"), "subtask_type": "chain"}
    assert body == [[[1, 1], {}, embed(chord=stub)], [[2], {}, embed(chord=stub)]]


def test_messages_of_a_header_do_not_grow_with_its_body() -> None:
    header, body = (group(add.si(i, i) for i in range(200)) for _ in range(2))
    made = plan(header | body)
    assert max(len(envelope.body) for envelope in made.envelopes) < 500
    assert [json.loads(row.body or "")["task"] for row in made.groups] == ["celery.group"]


def test_group_inside_a_chain_is_a_chord_on_the_wire() -> None:
    head, body = bodies(add.s(1, 1) | group(add.s(2), add.s(3)) | tsum.s())
    assert head == [["id1", None, None, "id1", None, "(1, 1)", "{}", 0]]
    members = [
        sig(2, task_id="id2", reply_to="oid", group_index=0),
        sig(3, task_id="id3", reply_to="oid", group_index=1),
    ]
    header = {
        **sig(task="celery.group", task_id="id4", root_id=None, parent_id=None),
        "kwargs": {"tasks": members},
        "subtask_type": "group",
    }
    step = {
        **sig(task="celery.chord", task_id="id4"),
        "kwargs": {
            "kwargs": {},
            "header": header,
            "body": sig(task="capapp.tsum", task_id="id5", reply_to="oid"),
        },
        "subtask_type": "chord",
    }
    assert body == [[[1, 1], {}, embed(chain=[step])]]


def test_map_and_starmap_on_the_wire(sent: list[Envelope]) -> None:
    add.map([1, 2]).delay()
    add.starmap([(1, 2), (3, 4)]).delay()
    assert [envelope.name for envelope in sent] == ["celery.map", "celery.starmap"]
    assert [body_of(envelope) for envelope in sent] == [
        [[], {"task": sig(), "it": [1, 2]}, embed()],
        [[], {"task": sig(), "it": [[1, 2], [3, 4]]}, embed()],
    ]
    inner = "{'task': 'capapp.add', 'args': (), 'kwargs': {}, 'options': {}, 'subtask_type': None, 'immutable': False}"
    assert sent[0].headers["argsrepr"] == "()"
    assert sent[0].headers["kwargsrepr"] == f"{{'task': {inner}, 'it': [1, 2]}}"
    assert sent[1].headers["kwargsrepr"] == f"{{'task': {inner}, 'it': [(1, 2), (3, 4)]}}"


def test_chunks_on_the_wire_are_a_group_of_starmaps() -> None:
    sent = messages(plan(add.chunks([(1, 2), (3, 4), (5, 6)], 2)))
    assert [(e.name, body_of(e)[1]["it"], e.headers["group_index"]) for e in sent] == [
        ("celery.starmap", [[1, 2], [3, 4]], 0),
        ("celery.starmap", [[5, 6]], 1),
    ]
    assert len({e.headers["group"] for e in sent}) == 1


def test_stamps_on_the_wire(sent: list[Envelope]) -> None:
    stamped = add.s(1, 2)
    stamped.stamp(tenant="t1", n=[1, 2])
    stamped.delay()
    assert sent[0].headers["stamped_headers"] == ["tenant", "n"]
    assert sent[0].headers["stamps"] == {"tenant": "t1", "n": [1, 2]}


@pytest.mark.parametrize(
    ("canvas", "form"),
    [
        (
            chain(add.s(1, 2), add.s(3)),
            {"task": "celery.chain", "kwargs": {"tasks": [sig(1, 2), sig(3)]}, "subtask_type": "chain"},
        ),
        (
            group(add.s(1, 1), add.s(2, 2)),
            {"task": "celery.group", "kwargs": {"tasks": [sig(1, 1), sig(2, 2)]}, "subtask_type": "group"},
        ),
        (
            chord([add.s(1, 1)], tsum.s()),
            {
                "task": "celery.chord",
                "kwargs": {"kwargs": {}, "header": [sig(1, 1)], "body": sig(task="capapp.tsum")},
                "subtask_type": "chord",
            },
        ),
        (add.map([1]), {"task": "celery.map", "kwargs": {"task": sig(), "it": [1]}, "immutable": True}),
        (
            add.starmap([(1, 2)]),
            {"task": "celery.starmap", "kwargs": {"task": sig(), "it": [[1, 2]]}, "immutable": True},
        ),
        (
            add.chunks([(1, 2)], 1),
            {"task": "celery.chunks", "kwargs": {"task": sig(), "it": [[1, 2]], "n": 1}, "immutable": True},
        ),
    ],
    ids=["chain", "group", "chord", "map", "starmap", "chunks"],
)
def test_canvases_as_json_have_celerys_layout(canvas: Any, form: Any) -> None:
    assert json.loads(json.dumps(canvas)) == {"args": [], "options": {}, **PLAIN, **form}
