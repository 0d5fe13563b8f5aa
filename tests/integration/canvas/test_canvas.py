"""Workflows with a real worker: what runs after what, with which values, and what a failure does to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskq import chain, chord, chunks, group
from taskq.models import TaskRun
from taskq.sending.send import send_task
from testproject.arithmetic.tasks import mul, xsum
from tests.support.jobs import flows
from tests.support.jobs.flows import add, boom, double, same, total
from tests.support.waiting import wait_until

from .ends import SECONDS, failure, get, lines_of

# -- the guide


def test_examples_of_the_guide_give_their_values() -> None:
    assert get(group(add.s(i, i) for i in range(10))()) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    partial = group(add.s(i) for i in range(10))
    assert get(partial(10)) == [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    assert get(chain(add.s(4, 4) | mul.s(8))()) == 64
    assert get(chain(add.s(4) | mul.s(8))(4)) == 64
    assert get((add.s(4, 4) | mul.s(8))()) == 64
    assert get(chord((add.s(i, i) for i in range(10)), xsum.s())()) == 90
    assert get((group(add.s(i, i) for i in range(10)) | xsum.s())()) == 90
    assert get(add.apply_async((2, 2), link=add.s(16))) == 4
    assert get((add.s(1, 1) | group(add.s(i) for i in range(3)))()) == [2, 3, 4]


# -- what runs after what


def test_chain_gives_values_under_ids_known_when_sent(alias: str) -> None:
    result = chain(add.s(1, 1), add.s(2), add.s(3))()
    assert get(result) == 7
    assert get(result.parent) == 4
    assert get(result.parent.parent) == 2


def test_immutable_link_gets_no_value() -> None:
    assert get((add.s(1, 1) | add.si(5, 5))()) == 10


@pytest.mark.parametrize(
    ("canvas", "value"),
    [
        (lambda: add.s(1, 1) | group(add.s(1), add.s(2)) | total.s(), 7),
        (lambda: group(add.s(1, 1)) | same.s(), [[2]]),
        (lambda: chord([], total.s()), 0),
        (lambda: chord([add.s(4, 4)], total.s()), 8),
        (lambda: chord([chord([add.s(1, 1), add.s(2, 2)], total.s()), add.s(3, 3)], total.s()), 12),
        (lambda: chord([group(add.s(1, 1), add.s(2, 2)), add.s(3, 3)], same.s()), [[2, 4, 6]]),
        (lambda: chord([add.s(1, 1) | add.s(3), add.s(1, 1)], total.s()), 7),
        (lambda: chord([add.s(1, 1), add.s(2, 2)], total.s() | add.s(10)), 16),
        (lambda: group(add.s(1, 1), add.s(2, 2)) | group(total.s(), same.s()), [6, [[2, 4]]]),
        (lambda: group(add.s(1, 1), add.s(2, 2)) | total.s() | group(add.s(1), add.s(2)) | total.s(), 15),
        # Groups in chains in headers: the list that such a chain gives is one value.
        (lambda: chord([add.s(1, 1) | group(add.s(1), add.s(2)), add.s(3, 3)], same.s()), [[[3, 4], 6]]),
        (lambda: chord([add.s(1, 1) | group(add.s(1), add.s(2)) | total.s(), add.s(3, 3)], same.s()), [[7, 6]]),
        (lambda: chord([chord([add.s(1, 1)], group(total.s(), same.s())), add.s(3, 3)], same.s()), [[[2, [[2]]], 6]]),
        (lambda: chord([group(add.s(1, 1) | group(add.s(1), add.s(2)), add.s(2, 2))], same.s()), [[[3, 4], 4]]),
        (lambda: group(add.s(1, 1) | group(add.s(1), add.s(2) | group(add.s(3), add.s(4)))), [3, [7, 8]]),
        (lambda: chain(group(add.s(1, 1)), same.s()), [[2]]),
    ],
)
def test_canvases_of_every_shape_give_their_values(canvas: Any, value: Any) -> None:
    assert get(canvas()()) == value


def test_nine_chords_in_a_row() -> None:
    canvas: Any = add.s(0, 1)
    for _ in range(9):
        canvas = canvas | group(add.s(0), add.s(0)) | total.s()
    assert get(canvas()) == 2**9


def test_chain_of_two_hundred_links() -> None:
    result = chain(add.s(1) for _ in range(200))(0)
    assert get(result) == 200
    assert len(list(result.ancestors())) == 199


def test_groups_nested_fifty_deep() -> None:
    canvas: Any = add.s(0, 0)
    for i in range(1, 51):
        canvas = group(canvas, add.s(i, i))
    assert get(canvas()) == [2 * i for i in range(51)]
    assert get(chord([canvas], total.s())()) == sum(2 * i for i in range(51))
    # And where each of them waits for the one around it.
    canvas = add.s(1)
    for _ in range(25):
        canvas = add.s(1) | group(canvas, add.s(0))
    assert deepest(get(canvas(0))) == 26


def deepest(value: Any) -> int:
    return max(map(deepest, value)) if isinstance(value, list) else int(value)


def test_header_of_a_thousand_members_from_a_generator() -> None:
    assert get(chord((add.s(i, i) for i in range(1000)), total.s())()) == 999_000


def test_map_starmap_and_chunks_give_lists() -> None:
    assert get(double.map([1, 2, 3]).delay()) == [2, 4, 6]
    assert get(add.starmap([(1, 1), (2, 2)]).delay()) == [2, 4]
    assert get(chunks(add, [(i, i) for i in range(5)], 2)()) == [[0, 2], [4, 6], [8]]


def test_callbacks_run_as_children_of_their_task(notes_path: Path) -> None:
    result = add.apply_async((1, 1), link=[flows.noted.si(str(notes_path), "first"), flows.lineage.s()])
    assert get(result) == 2
    wait_until(lambda: lines_of(notes_path, "first"), SECONDS, what="the first callback")
    assert [child.name for child in result.children or ()] == [flows.noted.name, flows.lineage.name]
    child = (result.children or [])[1]
    assert get(child)[1:3] == [result.id, result.id]


def test_callback_of_a_member_does_not_hold_up_the_body(notes_path: Path) -> None:
    member = add.s(1, 1)
    member.link(flows.noted.si(str(notes_path), "of a member"))
    assert get(chord([member, add.s(2, 2)], total.s())()) == 6
    wait_until(lambda: lines_of(notes_path, "of a member"), SECONDS, what="the callback")


def test_ignored_results_reach_the_body_and_the_next_link(alias: str) -> None:
    result = chord([flows.add_ignored.s(1, 1), flows.add_ignored.s(2, 2)], total.s())()
    assert get(result) == 6
    assert not TaskRun.objects.using(alias).filter(task_id__in=[m.id for m in result.parent]).exists()
    assert get((flows.add_ignored.s(1, 1) | add.s(2))()) == 4


# -- retries and replacements


def test_retried_task_keeps_its_chain_and_chord() -> None:
    assert get((flows.second_try.s(1) | add.s(2))()) == 3
    assert get(chord([flows.second_try.s(5), add.s(1, 1)], same.s())()) == [[5, 2]]


def test_replacement_gives_its_value_in_place_of_the_task() -> None:
    assert get(flows.becomes_chain.delay(5)) == 12
    assert get(flows.becomes_group.delay(1)) == [2, 4]
    assert get((flows.becomes_chain.s(5) | add.s(1))()) == 13
    assert get(chord([flows.becomes_chain.s(5), add.s(1, 1)], same.s())()) == [[12, 2]]
    assert get(chord([flows.becomes_group.s(1), add.s(1, 1)], same.s())()) == [[[2, 4], 2]]


def test_member_added_to_a_chord_reaches_the_body() -> None:
    assert get(chord([flows.brings_along.s(1), add.s(1, 1)], same.s())()) == [[1, 2, 101]]


def test_stamps_reach_every_task_of_a_canvas() -> None:
    canvas = flows.stamps.s() | group(flows.stamps.s(), flows.stamps.s()) | flows.stamps.s()
    canvas.stamp(tenant="acme")
    found = get(canvas())
    own = found[-1]
    assert own["tenant"] == "acme"
    assert found == [[own, own], [own, own], own]


def test_empty_group_gives_an_empty_list() -> None:
    assert get(group()()) == []


# -- messages of Celery's producers


def test_celerys_built_in_tasks_run() -> None:
    sig = dict(double.s())
    assert get(send_task("celery.map", kwargs={"task": sig, "it": [1, 2]})) == [2, 4]
    assert get(send_task("celery.starmap", kwargs={"task": dict(add.s()), "it": [[1, 2]]})) == [3]
    assert get(send_task("celery.chunks", kwargs={"task": dict(add.s()), "it": [[1, 2], [3, 4], [5, 6]], "n": 2}))
    assert get(send_task("celery.accumulate", (1, 2))) == [1, 2]
    assert get(send_task("celery.group", kwargs={"tasks": [add.s(1, 1), add.s(2, 2)]})) == [2, 4]
    assert get(send_task("celery.chord", kwargs={"header": [add.s(1, 1), add.s(2, 2)], "body": total.s()})) == 6


@pytest.mark.parametrize("fails", [False, True])
def test_chord_unlock_of_celerys_producers_runs_or_fails_the_body(fails: bool) -> None:
    members = [add.delay(1, 1), boom.delay() if fails else add.delay(2, 2)]
    body = total.s()
    result = body.freeze()
    send_task("celery.chord_unlock", ("g", body), {"result": [m.as_tuple() for m in members], "interval": 0.05})
    if fails:
        assert str(failure(result)) == f"Dependency {members[1].id} raised ValueError('boom')"
    else:
        assert get(result) == 6
