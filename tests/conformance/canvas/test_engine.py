"""Chains, groups and chords that succeed end alike in every store: each case gives the values of all tasks."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import chain, chord, group
from tests.support.jobs.flows import add, double, same, second_try, total
from tests.support.jobs.heard import given
from tests.support.stores import on_every_store

from .conftest import Run, ends

pytestmark = on_every_store

two, four, six = add.s(1, 1), add.s(2, 2), add.s(3, 3)
plus = add.s(1)

CHAINS = {
    "of_one": (chain(two), 2),
    "of_three": (two | plus | double.s(), (2, 3, 6)),
    "in_a_chain": (chain(two, chain(plus, double.s())), (2, 3, 6)),
    "in_a_chain_with_arguments": (
        two | chain(given.s(1), same.s()).clone((4,)),
        (2, [[2, 4, 1], {}], [[[2, 4, 1], {}]]),
    ),
    "with_an_immutable_link": (two | add.si(5, 5), (2, 10)),
    "with_an_empty_group": (chain(two, group(), plus), (2, 3)),
    "with_a_group_of_one": (two | group(plus), (2, 3)),
    "that_ends_in_a_group": (two | group(plus, add.s(2)), (2, [3, 4])),
    "with_a_retry": (two | second_try.s() | plus, (2, 2, 3)),
}
GROUPS = {
    "empty": (group(), []),
    "of_one": (group(two), [2]),
    "of_two": (group(two, four), [2, 4]),
    "in_a_group": (group(two, group(four, six)), [2, 4, 6]),
    "of_chains": (group(two | plus, four), [(2, 3), 4]),
    "of_chords": (group(chord([two, four], total.s()), four), [([2, 4], 6), 4]),
    # A task after the group gathers its values: the member is one task.
    "with_a_chain_that_ends_in_a_group": (group(two | group(plus, plus), four), [(2, [3, 3]), 4]),
}
CHORDS = {
    "empty": (chord([], total.s()), ([], 0)),
    "of_one": (chord([two], total.s()), ([2], 2)),
    "of_two": (chord([two, four], total.s()), ([2, 4], 6)),
    "of_a_group": (group(two, four) | total.s(), ([2, 4], 6)),
    "of_an_empty_group": (group() | total.s(), ([], 0)),
    "after_a_task": (two | group(plus, add.s(2)) | total.s(), (2, [3, 4], 7)),
    "after_a_chord": (
        group(two, four) | total.s() | group(plus, add.s(2)) | total.s(),
        ([2, 4], 6, [7, 8], 15),
    ),
    "of_groups_in_a_row": (
        group(two, four) | group(total.s(), total.s()) | group(total.s(), same.s()),
        ([2, 4], [6, 6], [12, [[6, 6]]]),
    ),
    "with_a_group_in_the_header": (chord([group(two, four), six], total.s()), ([2, 4, 6], 12)),
    "with_an_empty_group_in_the_header": (chord([group(), six], total.s()), ([6], 6)),
    "with_a_chain_in_the_header": (chord([two | plus, four], total.s()), ([(2, 3), 4], 7)),
    "with_a_chain_that_ends_in_a_group": (
        chord([two | group(plus, add.s(2)), four], same.s()),
        ([(2, [3, 4], [3, 4]), 4], [[[3, 4], 4]]),
    ),
    "with_a_chord_in_the_header": (chord([chord([two, four], total.s()), two], total.s()), ([([2, 4], 6), 2], 8)),
    "with_an_empty_chord_in_the_header": (chord([chord([], total.s()), two], total.s()), ([([], 0), 2], 2)),
    "with_a_retry_in_the_header": (chord([second_try.s(5), two], same.s()), ([5, 2], [[5, 2]])),
    "with_retries_in_a_chain_in_the_header": (
        chord([second_try.s(5) | second_try.s(), two], same.s()),
        ([(5, 5), 2], [[5, 2]]),
    ),
    "with_a_chain_for_a_body": (chord([two, four], total.s() | add.s(10)), ([2, 4], 6, 16)),
    "with_a_group_for_a_body": (chord([two, four], group(total.s(), same.s())), ([2, 4], [6, [[2, 4]]])),
    "with_a_chord_for_a_body": (
        chord([two, four], chord([total.s(), total.s()], total.s())),
        ([2, 4], [6, 6], 12),
    ),
    "with_an_empty_chord_for_a_body": (chord([two], chord([], total.s())), ([2], [], 0)),
    "with_an_immutable_body": (chord([two], add.si(1, 2)), ([2], 3)),
    "with_a_body_that_is_retried": (chord([two], second_try.s()), ([2], [2])),
}
MAPS = {
    "map": (double.map([1, 2]), [2, 4]),
    "starmap": (add.starmap([(1, 1), (2, 2)]), [2, 4]),
    "chunks": (add.chunks([(1, 1), (2, 2), (3, 3)], 2), [[2, 4], [6]]),
    "chunks_in_a_chord": (add.chunks([(1, 1), (2, 2), (3, 3)], 2) | same.s(), ([[2, 4], [6]], [[[2, 4], [6]]])),
    "map_in_a_chain": (two | double.map([1, 2]) | total.s(), (2, [2, 4], 6)),
}
#: Canvases that are called with ``(1, 2)``.
PARTIAL = {
    "task": (given.s(3, k=4), [[1, 2, 3], {"k": 4}]),
    "immutable_task": (given.si(3), [[3], {}]),
    "chain": (given.s(3) | same.s(4), ([[1, 2, 3], {}], [[[1, 2, 3], {}], 4])),
    "group": (group(given.s(3), given.si(4)), [[[1, 2, 3], {}], [[4], {}]]),
    "immutable_group": (group(given.s(3), given.s(4)).set(immutable=True), [[[3], {}], [[4], {}]]),
    "nested_group": (group(group(given.s(3)).clone((0,)), given.s()), [[[1, 2, 0, 3], {}], [[1, 2], {}]]),
    "chord": (chord([given.s(3)], given.s(k=4)), ([[[1, 2, 3], {}]], [[[[[1, 2, 3], {}]]], {"k": 4}])),
    "chord_with_arguments": (chord([given.s(3)], same.s()).clone((0,)), ([[[1, 2, 0, 3], {}]], [[[[1, 2, 0, 3], {}]]])),
}


@pytest.mark.parametrize(("sig", "expected"), CHAINS.values(), ids=CHAINS)
def test_chain(run: Run, sig: Any, expected: Any) -> None:
    assert ends(run(sig)) == expected


@pytest.mark.parametrize(("sig", "expected"), GROUPS.values(), ids=GROUPS)
def test_group(run: Run, sig: Any, expected: Any) -> None:
    assert ends(run(sig)) == expected


@pytest.mark.parametrize(("sig", "expected"), CHORDS.values(), ids=CHORDS)
def test_chord(run: Run, sig: Any, expected: Any) -> None:
    assert ends(run(sig)) == expected


@pytest.mark.parametrize(("sig", "expected"), MAPS.values(), ids=MAPS)
def test_map(run: Run, sig: Any, expected: Any) -> None:
    assert ends(run(sig)) == expected


@pytest.mark.parametrize(("sig", "expected"), PARTIAL.values(), ids=PARTIAL)
def test_partial(run: Run, sig: Any, expected: Any) -> None:
    assert ends(run(sig, 1, 2)) == expected
