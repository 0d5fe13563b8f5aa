"""A long chain travels in parts; a short one, and one that another program may read, travels whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import override_settings

from taskq import chain, chord, group
from taskq.signals import before_task_publish
from taskq.testing import override
from taskq.workflows import rests
from taskq.workflows.plan import Plan, plan
from tests.support.jobs.flows import add, same


def steps(count: int, size: int = 0) -> Any:
    return chain(add.s(0, 0).set(task_id="s0"), *(same.si("x" * size).set(task_id=f"s{n}") for n in range(1, count)))


def travelling(made: Plan) -> tuple[list[str], int]:
    """Return the ids in the chain of the only message, in the order of running, and the size of its body."""
    (envelope,) = made.envelopes
    embed = json.loads(envelope.body)[2]
    return [step["options"]["task_id"] for step in reversed(embed["chain"])], len(envelope.body)


def in_rows(made: Plan) -> dict[str, list[str]]:
    return {
        row.group_id: [step["options"]["task_id"] for step in reversed(json.loads(row.body or ""))]
        for row in made.groups
        if row.size == 0
    }


def ids(first: int, last: int) -> list[str]:
    return [f"s{n}" for n in range(first, last + 1)]


def test_short_chain_travels_whole() -> None:
    made = plan(steps(rests.MOST_STEPS + 1))
    assert travelling(made)[0] == ids(1, rests.MOST_STEPS)
    assert made.groups == []


def test_long_chain_travels_in_parts_that_refer_to_each_other() -> None:
    made = plan(steps(52))
    assert travelling(made)[0] == [*ids(1, 20), "rest:s21"]
    assert in_rows(made) == {"rest:s21": [*ids(21, 40), "rest:s41"], "rest:s41": ids(41, 51)}


@pytest.mark.parametrize("size", [10, 2_000, 20_000])
def test_first_message_of_a_chain_is_bounded(size: int) -> None:
    made = plan(steps(300, size))
    first, length = travelling(made)
    assert length < 64_000
    kept = [step for part in in_rows(made).values() for step in part]
    assert {*first, *kept}.issuperset(ids(1, 299))


def test_large_step_waits_in_a_row_of_its_own() -> None:
    made = plan(steps(4, 40_000))
    assert travelling(made)[0] == ["rest:s1"]
    assert in_rows(made) == {"rest:s1": ["s1", "rest:s2"], "rest:s2": ["s2", "rest:s3"], "rest:s3": ["s3"]}


def large_steps(count: int) -> Any:
    """Return a chain of 30 steps, of which so many are large, behind the first one."""
    sizes = [rests.MOST_BYTES] * count + [1] * (29 - count)
    return chain(
        add.s(0, 0).set(task_id="s0"), *(same.si("x" * size).set(task_id=f"s{n}") for n, size in enumerate(sizes, 1))
    )


def test_reference_behind_a_large_step_stands_beside_its_own() -> None:
    made = plan(large_steps(2))
    assert travelling(made)[0] == ["large-rest:s1", "large-rest:s2", "rest:s3"]
    assert in_rows(made) == {
        "large-rest:s1": ["s1"],
        "large-rest:s2": ["s2"],
        "rest:s3": [*ids(3, 22), "rest:s23"],
        "rest:s23": ids(23, 29),
    }


def test_few_references_stand_side_by_side() -> None:
    made = plan(large_steps(29))
    assert travelling(made)[0] == [*(f"large-rest:{step}" for step in ids(1, 3)), "unnamed-rest:s4"]
    behind = [f"large-rest:{step}" for step in ids(25, 29)]
    assert in_rows(made)["unnamed-rest:s24"] == ["s24", *behind]


def test_chain_behind_a_group_is_in_no_message() -> None:
    made = plan(chain(add.s(0, 0), group(add.s(1), add.s(2)), *(same.s() for _ in range(500))))
    assert travelling(made)[1] < 1_000


def test_chain_for_celerys_workers_travels_whole() -> None:
    with override_settings(TASKQ_BROKER_URL="amqp://"):
        made = plan(steps(100))
        assert travelling(made)[0] == ids(1, 99)
    assert made.groups == []


@pytest.mark.parametrize(
    "other", [same.si({1, 2}).set(serializer="pickle"), same.si((1, 2)).set(serializer="pickle")], ids=["set", "tuple"]
)
def test_chain_that_json_would_change_travels_whole(other: Any) -> None:
    whole = chain(add.s(0, 0).set(serializer="pickle"), *(other.clone() for _ in range(50)))
    with override_settings(TASKQ_ACCEPT_CONTENT=["json", "pickle"]):
        assert plan(whole).groups == []


def test_long_chains_in_headers_and_bodies_travel_in_parts() -> None:
    made = plan(chord(group(steps(30), same.s(1)), chain(*(same.s() for _ in range(30)))))
    assert list(in_rows(made)) == ["rest:s21"]
    assert all(len(envelope.body) < 20_000 for envelope in made.envelopes)


def test_what_travels_grows_with_the_length_of_a_chain() -> None:
    def per_step(length: int) -> float:
        sizes: list[int] = []

        def note(body: Any, **_: Any) -> None:
            sizes.append(len(json.dumps(body)))

        before_task_publish.connect(note, weak=False)
        try:
            with override() as memory:
                result = steps(length).apply_async()
                memory.drain()
                assert result.successful()
        finally:
            before_task_publish.disconnect(note)
        assert len(sizes) == length
        return sum(sizes) / length

    assert per_step(400) < 1.2 * per_step(100)


def foreign(task_id: str, **changes: Any) -> dict[str, Any]:
    return {"task": "shop.add", "args": [], "kwargs": {}, "options": {"task_id": task_id}, **changes}


def cut(*others: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """Return what travels of a chain of another producer, and the keys of the rows."""
    keys: list[str] = []
    travels = rests.cut([*others, *(foreign(f"s{n}") for n in range(30))], lambda key, text: keys.append(key))
    return [*travels], keys


def test_long_chain_of_single_tasks_of_another_producer_is_cut() -> None:
    travels, keys = cut()
    assert len(travels) == rests.MOST_STEPS + 1
    assert len(keys) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"task": "shop.add", "options": {"task_id": "x"}},
        foreign("x", options={}),
        foreign("x", task="celery.group", subtask_type="group", kwargs={"tasks": []}),
        rests.reference("rest:x"),
    ],
    ids=["incomplete", "without an id", "group", "reference"],
)
def test_long_chain_of_another_producer_with_another_step_travels_whole(other: dict[str, Any]) -> None:
    travels, keys = cut(other)
    assert (len(travels), keys) == (31, [])
