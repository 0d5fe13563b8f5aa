"""A signature that has its id already and joins a chord more than once is one member, which is waited for once."""

from __future__ import annotations

from taskq import chord
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
