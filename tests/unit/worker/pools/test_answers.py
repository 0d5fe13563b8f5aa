"""What threads say to the loop, and what becomes of it when nobody listens any more."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from kombu.asynchronous import Hub

from taskq.worker.pools.answers import Answers


def test_what_was_said_is_heard_in_order() -> None:
    heard: list[tuple[int, ...]] = []
    answers = Answers(Hub(), lambda *words: heard.append(words))
    answers.put(1, 2)
    answers.put(3)
    assert answers.hear()
    assert not answers.hear()
    assert heard == [(1, 2), (3,)]
    answers.close()


def test_what_is_said_after_the_end_gets_into_no_other_file(tmp_path: Path) -> None:
    """A thread that was left behind speaks when the numbers of the pipe have been given to files."""
    answers = Answers(Hub(), lambda: None)
    answers.close()
    opened = [(tmp_path / str(n)).open("wb") for n in range(8)]
    answers.put("late")
    for file in opened:
        file.close()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b""] * 8


def test_its_pipe_is_closed_when_nobody_can_speak_any_more() -> None:
    answers = Answers(Hub(), lambda: None)
    pipe = answers._write_fd
    answers.close()
    os.fstat(pipe)
    del answers
    gc.collect()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(pipe)
