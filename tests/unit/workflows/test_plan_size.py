"""Plans of workflows that are large, long or deep."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from taskq import Signature, chain, chord, group
from taskq.exceptions import EncodeError
from taskq.workflows.plan import next_after, plan, plan_body, room_for_bodies
from tests.unit.canvas.jobs import S, a, add, b, calls, embed_of, ident, messages, tsum
from tests.unit.workflows.tails import tail

MIB = 1024 * 1024


def test_generator_of_members_is_consumed_once() -> None:
    seen: list[int] = []

    def members() -> Iterator[Any]:
        for i in range(3):
            seen.append(i)
            yield add.s(i, i)

    made = plan(chord(members(), S))
    assert len(messages(made)) == 3
    assert seen == [0, 1, 2]
    assert len(messages(plan(group(add.s(i) for i in range(3))))) == 3


def test_messages_are_encoded_one_by_one() -> None:
    made = plan(group(ident.s(1), ident.s(object())))
    assert next(made.envelopes).name == "capapp.ident"
    with pytest.raises(EncodeError, match=r"argument 'x' of capapp\.ident"):
        next(made.envelopes)


def test_plan_of_ten_thousand_members_has_one_group() -> None:
    made = plan(chord((add.s(i, i) for i in range(10_000)), S))
    assert [row.size for row in made.groups] == [10_000]
    assert sum(1 for _ in made.envelopes) == 10_000
    assert sum(1 for _ in made.nodes) == 10_001


def test_plan_of_a_large_group_has_no_copies_of_its_members() -> None:
    n = 500
    sigs = {
        "group": group(add.s(i, i) for i in range(n)),
        "chord": chord((add.s(i, i) for i in range(n)), S),
        "first step": group(add.s(i, i) for i in range(n)) | S,
    }
    for name, sig in sigs.items():
        tracemalloc.start()
        made = plan(sig)
        assert sum(1 for _ in made.envelopes) == n
        assert len({node.task_id for node in made.nodes}) >= n, name
        assert [node.task_id for node in made.nodes] == [node.task_id for node in made.nodes]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # An id has 100 bytes, and its result another 100; a copy of a signature would have 500.
        assert peak / n < 500, name


def test_plan_of_a_chain_of_a_thousand_links() -> None:
    sig = chain(add.s(1) for _ in range(1000))
    made = plan(sig, (1,))
    (first,) = messages(made)
    assert len(first.body) < 64_000
    assert len(tail(first)) == 21
    assert sum(1 for _ in made.nodes) == 1000
    second = messages(next_after(embed_of(first), 2, task_id=first.task_id, root_id=first.task_id))
    assert len(tail(second[0])) == 20
    joined: Any = a
    for _ in range(999):
        joined |= b
    assert json.dumps(Signature.from_dict(json.loads(json.dumps(joined)))) == json.dumps(joined)


def test_plan_of_groups_nested_fifty_deep() -> None:
    sig: Any = ident.s(0)
    for i in range(1, 51):
        sig = group(sig, ident.s(i))
    again = Signature.from_dict(json.loads(json.dumps(sig))).clone()
    for canvas in (sig, again, chord([again], S), a | again | S):
        made = plan(canvas)
        assert list(made.nodes)
        assert repr(canvas)
    assert calls(messages(plan(again))) == [("capapp.ident", [i]) for i in range(51)]


def test_plans_of_nine_chords_in_a_row_send_one_after_the_other() -> None:
    sig: Any = group(ident.s(1), ident.s(1))
    for _ in range(8):
        sig = sig | tsum.s() | group(ident.s(), ident.s())
    made = plan(sig | S)
    rounds = 0
    while made.groups:
        rounds += 1
        (row,) = made.groups
        made = plan_body(row.body or "", [1, 1], root_id="r", parent_id="p")
        while not made.groups:
            sent = messages(made)
            if not embed_of(sent[0])["chain"]:
                break
            made = next_after(embed_of(sent[0]), 2, task_id="x", root_id="r")
    assert rounds == 9


def chords_in_a_row(n: int) -> Any:
    sig: Any = group(ident.s(1), ident.s(1))
    for _ in range(n):
        sig = sig | tsum.s() | group(ident.s(), ident.s())
    return sig | S


def test_too_many_chords_in_a_row_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"nested too deeply to be sent.* replace\(\)"):
        list(plan(chords_in_a_row(250)).envelopes)
    with pytest.raises(ValueError, match="nested too deeply"):
        chords_in_a_row(500)
    with pytest.raises(ValueError, match="nested too deeply"):
        chain(*(step for _ in range(500) for step in (group(a, b), S)))


def test_plan_of_a_hundred_chords_in_a_row() -> None:
    made = plan(chords_in_a_row(100))
    assert len(messages(made)) == 2
    assert sum(1 for _ in made.nodes) == 101 * 3


@pytest.mark.parametrize(("most", "room"), [(None, math.inf), (MIB, 256 * MIB), (100 * MIB, 1600 * MIB)])
def test_what_follows_from_one_end_may_have_16_messages_of_the_largest_size_or_256_mib(
    most: int | None, room: float
) -> None:
    with override_settings(TASKQ_MAX_MESSAGE_SIZE=most):
        assert room_for_bodies() == room
