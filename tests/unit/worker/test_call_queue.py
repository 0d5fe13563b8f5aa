"""Calls for another thread."""

from __future__ import annotations

import gc
import os
import select
from pathlib import Path

import pytest
from kombu.asynchronous import Hub

from taskq.worker.call_queue import CallQueue


@pytest.fixture
def calls() -> CallQueue:
    return CallQueue()


def _readable(calls: CallQueue) -> bool:
    return bool(select.select([calls.fileno()], [], [], 0)[0])


def test_a_call_wakes_and_is_made_once(calls: CallQueue) -> None:
    made: list[int] = []
    assert not _readable(calls)
    calls.post(made.append, 1)
    calls.post(made.append, 2)
    assert _readable(calls)
    calls.run()
    calls.run()
    assert made == [1, 2]
    assert not _readable(calls)


def test_a_call_may_post_another(calls: CallQueue) -> None:
    made: list[int] = []
    calls.post(calls.post, made.append, 1)
    calls.run()
    assert made == []
    assert _readable(calls)
    calls.run()
    assert made == [1]


def test_a_call_that_fails_loses_no_other(calls: CallQueue) -> None:
    made: list[int] = []
    calls.post(lambda: 1 // 0)
    calls.post(made.append, 1)
    with pytest.raises(ZeroDivisionError):
        calls.run()
    assert _readable(calls)
    calls.run()
    assert made == [1]


def test_wake_makes_the_queue_readable_without_a_call(calls: CallQueue) -> None:
    calls.wake()
    assert _readable(calls)
    calls.run()
    assert not _readable(calls)


def test_call_after_close_is_written_to_no_reused_descriptor(tmp_path: Path, calls: CallQueue) -> None:
    """A thread that was left behind posts when the loop has gone, and files have been opened."""
    hub = Hub()
    hub.add_reader(calls.fileno(), calls.run)
    hub.remove(calls.fileno())
    hub.close()
    opened = [(tmp_path / str(n)).open("wb") for n in range(8)]
    calls.post(print, "late")
    for file in opened:
        file.close()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b""] * 8


def test_pipe_is_closed_when_the_queue_is_garbage_collected() -> None:
    calls = CallQueue()
    pipe = calls._write_fd
    os.fstat(pipe)
    del calls
    gc.collect()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(pipe)


def test_more_posts_than_a_pipe_holds_are_all_made(calls: CallQueue) -> None:
    made: list[int] = []
    for number in range(70_000):
        calls.post(made.append, number)
    calls.run()
    assert made == list(range(70_000))
