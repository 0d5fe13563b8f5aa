"""New ids: unlike each other over threads, forks and leaps of the clock, and in order within a process."""

from __future__ import annotations

import os
import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import ids


@given(st.lists(st.integers(1_600_000_000_000_000_000, 1_900_000_000_000_000_000), min_size=1, max_size=50))
def test_ids_grow_however_the_clock_leaps(times: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "_last", 0)
        patch.setattr(ids.time, "time_ns", iter(times).__next__)
        made = [ids.new_id() for _ in times]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    for text in made:
        assert uuid.UUID(text).version == 7
        assert uuid.UUID(text).variant == uuid.RFC_4122


def test_threads_make_no_id_twice_and_each_grows() -> None:
    made: list[list[str]] = [[] for _ in range(8)]
    begin = threading.Barrier(8)

    def make(own: list[str]) -> None:
        begin.wait()
        own.extend(ids.new_id() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(own,)) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(own == sorted(own) for own in made)
    assert len({text for own in made for text in own}) == 16_000


def test_forks_make_no_id_twice() -> None:
    ids.new_id()
    pipes = []
    for _ in range(4):
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                os.write(writing, "\n".join(ids.new_id() for _ in range(500)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        pipes.append((pid, reading))
    made = [ids.new_id() for _ in range(500)]
    for pid, reading in pipes:
        with os.fdopen(reading) as text:
            made += text.read().split()
        assert os.waitpid(pid, 0)[1] == 0
    assert len(made) == len(set(made)) == 2500
