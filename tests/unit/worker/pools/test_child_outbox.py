"""The only writer of a child's socket: frames stay whole whatever threads and signal handlers do."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskq.worker.pools import frames
from taskq.worker.pools.child_outbox import ChildOutbox
from tests.support.waiting import wait_until

LARGE = "x" * 3_000_000


class Interrupted(Exception):
    """Raised by a signal handler."""


class Reader(threading.Thread):
    """Reads frames, from when it may until the other end is closed."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.may = threading.Event()
        self.frames: list[frames.Frame] = []

    def run(self) -> None:
        self.may.wait()
        reader = frames.FrameReader()
        while data := self.sock.recv(65536):
            self.frames += reader.feed(data)


@pytest.fixture
def ends() -> Iterator[tuple[ChildOutbox, Reader]]:
    ours, theirs = socket.socketpair()
    reader = Reader(theirs)
    reader.start()
    yield ChildOutbox(ours), reader
    ours.close()
    reader.may.set()
    reader.join(60)
    theirs.close()


def test_frames_of_many_threads_stay_whole(ends: tuple[ChildOutbox, Reader]) -> None:
    outbox, reader = ends
    reader.may.set()
    threads = [threading.Thread(target=outbox.send, args=(number, str(number) * 300_000)) for number in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    wait_until(lambda: len(reader.frames) == 8)
    assert sorted(reader.frames) == [(number, str(number) * 300_000) for number in range(8)]


@pytest.fixture
def on_alarm(ends: tuple[ChildOutbox, Reader]) -> Iterator[Any]:
    """Set the handler of SIGALRM, and have it called once a frame has begun: a large one can't be whole by then."""
    before = signal.getsignal(signal.SIGALRM)

    def interrupt() -> None:
        select.select([ends[1].sock], [], [])
        os.kill(os.getpid(), signal.SIGALRM)

    def set_handler(handler: Any) -> None:
        signal.signal(signal.SIGALRM, handler)
        threading.Thread(target=interrupt, daemon=True).start()

    yield set_handler
    signal.signal(signal.SIGALRM, before)


def test_a_frame_that_a_signal_cut_off_goes_on_before_the_next(ends: tuple[ChildOutbox, Reader], on_alarm: Any) -> None:
    outbox, reader = ends

    def expire(*_: object) -> None:
        raise Interrupted

    on_alarm(expire)
    with pytest.raises(Interrupted):
        outbox.send(1, LARGE)
    reader.may.set()
    outbox.send(2, "after")

    wait_until(lambda: len(reader.frames) == 2)
    assert reader.frames == [(1, LARGE), (2, "after")]


def test_a_signal_handler_may_send_while_its_thread_does(ends: tuple[ChildOutbox, Reader], on_alarm: Any) -> None:
    outbox, reader = ends

    def report(*_: object) -> None:
        outbox.send(2, "from the handler")
        reader.may.set()

    on_alarm(report)
    outbox.send(1, LARGE)

    wait_until(lambda: len(reader.frames) == 2)
    assert reader.frames == [(1, LARGE), (2, "from the handler")]


def test_an_answer_above_the_limit_is_refused(
    ends: tuple[ChildOutbox, Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, reader = ends
    reader.may.set()
    monkeypatch.setattr(frames, "LARGEST_ANSWER", 1000)

    with pytest.raises(ValueError, match="limit of 1000"):
        outbox.send(1, "x" * 2000)
    outbox.send(2, "small")

    wait_until(lambda: reader.frames)
    assert reader.frames == [(2, "small")]
