"""Standard streams whose reader does not read."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from taskq.worker.process import streams
from tests.support.full_pipe import fill


class AlwaysReady:
    """Says, as ``poll``, that a descriptor takes more: as it was just before another process wrote to it."""

    def register(self, fd: int, events: int) -> None:
        """Do nothing."""

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """Return what a ready descriptor gives."""
        return [(0, select.POLLOUT)]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_write_arrives_whole(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    data = b"0123456789" * 1000
    assert streams._Tolerant(writer).write(data) == len(data)
    assert os.read(reader, 20_000) == data


@pytest.mark.parametrize("filled_by_another", [False, True])
def test_write_to_a_full_pipe_is_dropped_until_the_reader_goes_on(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, filled_by_another: bool
) -> None:
    reader, writer = pipe
    monkeypatch.setattr(streams, "_PATIENCE", 0.05)
    stream = streams._Tolerant(writer)
    fill(writer)
    with monkeypatch.context() as patched:
        if filled_by_another:
            if not streams._NO_WAIT:
                pytest.skip("no write without waiting here")
            patched.setattr(select, "poll", AlwaysReady)
        assert stream.write(b"dropped") == 7
    os.read(reader, 1 << 20)
    assert stream.write(b"written") == 7
    assert os.read(reader, 1 << 20) == b"written"


def test_write_without_reader_is_dropped() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert streams._Tolerant(writer).write(b"dropped") == 7
    os.close(writer)
