from __future__ import annotations

import marshal
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.handover import Delivery, Outcome, Report
from taskq.records import Envelope, FollowUps, Rest
from taskq.worker.pools import frames
from taskq.worker.pools.frames import FrameReader, UnreadableError

from .driver import delivery

payloads = st.lists(st.tuples(st.integers(1, 40), st.text() | st.binary() | st.none()), max_size=6)


@given(sent=payloads, sizes=st.lists(st.integers(1, 30)))
def test_frames_come_out_whole_however_the_stream_is_cut(sent: list[tuple[int, object]], sizes: list[int]):
    stream = b"".join(frames.encode(kind, payload) for kind, payload in sent)
    reader = FrameReader()
    received = []

    for size in sizes:
        received += reader.feed(stream[:size])
        stream = stream[size:]
    received += reader.feed(stream)

    assert received == sent


@pytest.mark.parametrize("size", [0, 1024 * 1024])
def test_a_large_frame_is_not_copied_behind_its_header(size: int):
    parts = frames.parts(frames.DELIVERIES, ["x" * size])

    assert len(parts) == (2 if size else 1)
    assert [*FrameReader().feed(b"".join(parts))] == [(frames.DELIVERIES, ["x" * size])]


def test_encoding_a_value_that_is_not_plain_is_an_error():
    with pytest.raises(ValueError, match="unmarshallable"):
        frames.encode(frames.OUTCOME, (1, object()))


def test_reading_a_frame_of_another_format_version_is_an_error():
    data = marshal.dumps((99, frames.UP, None))

    with pytest.raises(UnreadableError, match="99"):
        list(FrameReader().feed(struct.pack(">II", len(data), len(data) ^ 0xFFFFFFFF) + data))


def test_frames_before_unreadable_bytes_are_read():
    reader = FrameReader()
    arrived: list[object] = []

    with pytest.raises(UnreadableError, match="something else"):
        arrived.extend(reader.feed(frames.encode(frames.UP, 7) + b"written by a task"))

    assert arrived == [(frames.UP, 7)]


def test_a_broken_frame_is_unreadable():
    whole = bytearray(frames.encode(frames.UP, "x" * 100))
    whole[8:40] = b"?" * 32

    with pytest.raises(UnreadableError, match="decoded"):
        list(FrameReader().feed(bytes(whole)))


def test_a_frame_above_the_limit_is_not_waited_for():
    large = frames.encode(frames.OUTCOME, "x" * 2000)

    with pytest.raises(UnreadableError, match="limit of 1000"):
        list(FrameReader(largest=1000).feed(large[:8]))


@pytest.mark.parametrize(
    "original",
    [
        delivery("body", time_limit=1.5),
        Report(1, "id", "PROGRESS", "{}", at=2.0),
        Outcome(
            1,
            "id",
            "SUCCESS",
            "4",
            follow_ups=FollowUps([Envelope("a", "b", "q", {}, "body")], [], [], [], [Rest("k", "4", "id", "")]),
        ),
    ],
)
def test_deliveries_reports_and_outcomes_survive_encoding(original: Delivery | Report | Outcome):
    ((_, fields),) = FrameReader().feed(frames.encode(1, original.to_wire()))

    assert type(original).from_wire(fields) == original
