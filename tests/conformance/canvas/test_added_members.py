"""A signature that has its id already and joins a chord more than once is one member, which is waited for once."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import chain, chord, group
from taskq.models import Group
from taskq.testing import override
from tests.support.jobs.flows import add, brings_twice, same
from tests.support.worker_here import WorkerHere


def test_a_frozen_signature_that_is_added_again_is_one_member(alias: str) -> None:
    sig = add.s(3, 4)
    sig.freeze()
    result = chord([brings_twice.s(1, sig), brings_twice.s(2, sig)], same.s()).delay()
    WorkerHere(alias).work()
    assert result.state == "SUCCESS"
    assert result.result == [[1, 2, 7]]
    assert not Group.objects.using(alias).filter(remaining__gt=0).exists()


def test_in_memory_too() -> None:
    sig = add.s(3, 4)
    sig.freeze()
    with override() as memory:
        result = chord([brings_twice.s(1, sig)], same.s()).delay()
        memory.drain()
        assert result.state == "SUCCESS"


HEADERS = [
    # Added twice by one task, and by two: the second time when all of the group has run.
    (lambda g: [brings_twice.s(1, g)], [[1, [7, 11]]]),
    (lambda g: [brings_twice.s(1, g), brings_twice.s(2, g)], [[1, 2, [7, 11]]]),
    (lambda g: [brings_twice.s(1, g), chain(*[same.s(0)] * 9, brings_twice.si(2, g))], [[1, 2, [7, 11]]]),
]


@pytest.mark.parametrize(("header", "expected"), HEADERS)
def test_a_frozen_group_that_is_added_again_is_one_member(alias: str, header: Any, expected: Any) -> None:
    g = group(add.s(3, 4), add.s(5, 6))
    g.freeze()
    result = chord(header(g), same.s()).delay()
    WorkerHere(alias).work()
    assert result.state == "SUCCESS"
    assert result.result == expected
    assert not Group.objects.using(alias).filter(remaining__gt=0).exists()


@pytest.mark.parametrize(("header", "expected"), HEADERS)
def test_a_frozen_group_that_is_added_again_in_memory(header: Any, expected: Any) -> None:
    g = group(add.s(3, 4), add.s(5, 6))
    g.freeze()
    with override() as memory:
        result = chord(header(g), same.s()).delay()
        memory.drain()
        assert result.state == "SUCCESS"
        assert result.result == expected


@pytest.mark.parametrize(("header", "expected"), HEADERS)
def test_a_frozen_group_that_is_added_again_eagerly(header: Any, expected: Any) -> None:
    g = group(add.s(3, 4), add.s(5, 6))
    g.freeze()
    assert chord(header(g), same.s()).apply().get() == expected
