from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from taskq.worker.pools.permits import GENERATIONS, MAX_PERMITS, Permits, take_permit


@pytest.fixture
def permits() -> Iterator[Permits]:
    made = Permits()
    yield made
    made.close()


def test_each_permit_is_taken_once(permits: Permits):
    permits.give(3, 7)

    assert take_permit(permits.read_fd) == 7
    assert permits.unused() == 2
    assert permits.take(5) == 2
    assert take_permit(permits.read_fd) is None
    assert permits.take(1) == permits.unused() == 0


def test_held_permits_can_be_taken_or_put_back(permits: Permits):
    permits.give(2, 1)
    permits.give(2, 2)

    permits.hold()
    assert take_permit(permits.read_fd) is None
    assert permits.unused() == 4
    assert permits.take(1) == 1
    permits.release()

    assert [take_permit(permits.read_fd) for _ in range(4)] == [1, 2, 2, None]


def test_pipe_holds_as_many_permits_as_a_child_may_have(permits: Permits):
    permits.give(MAX_PERMITS, GENERATIONS + 5)

    assert permits.unused() == MAX_PERMITS
    assert take_permit(permits.read_fd) == 4


def test_taking_a_permit_after_the_main_process_ended_is_an_error(permits: Permits):
    os.close(permits._write_fd)

    with pytest.raises(EOFError):
        take_permit(permits.read_fd)
