"""What a monitor makes of single events: received ones, and their lines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import override_settings
from kombu import Connection
from kombu.message import Message
from kombu.utils.json import dumps

from taskq.events.dump import Dump
from taskq.events.names import event_exchange
from taskq.events.receiving import Receiver, localized
from taskq.events.stamps import Stamp, utc_offset
from taskq.worker.remote.lamport import lamport
from tests.support.waiting import wait_until


def test_a_received_event_is_in_local_time() -> None:
    here = utc_offset()
    before = lamport.value
    event, _ = localized([
        {"type": "task-started", "timestamp": 10_000.0, "utcoffset": here + 1, "clock": before + 7},
        {"type": "task-started", "clock": "late"},
    ])  # fmt: skip
    assert event["timestamp"] == 10_000.0 - 3600
    assert event["local_received"] > 0
    assert lamport.value == before + 8
    assert localized([{"type": "task-sent", "clock": None}])[0]["clock"] == before + 7


@pytest.mark.parametrize("event", [None, [], {}, {"type": 3}, "text"])
def test_other_things_are_no_events(event: Any) -> None:
    with pytest.raises(ValueError, match="no event"):
        localized([{"type": "task-started"}, event])


def test_stamped_events_have_the_common_fields() -> None:
    first, second = Stamp("w1@h").all([{"type": "a"}, {"type": "b", "timestamp": 3.0}])
    assert first.keys() == second.keys() == {"type", "timestamp", "hostname", "pid", "clock", "utcoffset"}
    assert second["timestamp"] == 3.0
    assert second["clock"] > first["clock"]


def test_lines_of_the_dump() -> None:
    about = {"hostname": "w1@h", "timestamp": 0}
    assert Dump().lines([
        {**about, "type": "worker-online", "freq": 2.0, "active": 0},
        {**about, "type": "task-received", "uuid": "t1", "name": "add", "args": "(2, 2)", "kwargs": "{}"},
        {**about, "type": "task-succeeded", "uuid": "t1", "result": "4"},
        {**about, "type": "worker-offline"},
    ]) == [
        "w1@h [1970-01-01 00:00:00+00:00] started: active=0, freq=2.0",
        "w1@h [1970-01-01 00:00:00+00:00] task received add(t1) args=(2, 2) kwargs={}",
        "w1@h [1970-01-01 00:00:00+00:00] task succeeded: add(t1) args=(2, 2) kwargs={} result=4",
        "w1@h [1970-01-01 00:00:00+00:00] shutdown ",
    ]  # fmt: skip


def test_the_dump_shows_each_receipt_and_time() -> None:
    about = {"hostname": "w1@h", "type": "worker-heartbeat", "a": 1, "z": 2}
    dump = Dump()
    for received, at, shown in ((5.25, 0.000001, ".000001"), (6.5, 0.5, ".500000"), (7.0, 0.0, "")):
        event = {**about, "local_received": received, "timestamp": at}
        line = f"w1@h [1970-01-01 00:00:00{shown}+00:00] heartbeat: a=1, local_received={received}, z=2"
        assert dump.lines([event]) == [line]


def test_the_dump_shows_fields_as_they_are_and_nothing_acts_on_the_terminal() -> None:
    about = {"hostname": "w1@h", "timestamp": 0, "uuid": "t1"}
    assert Dump().lines([
        {**about, "type": "task-received", "name": "\x1b]0;a\x07", "args": "", "kwargs": "", "100%s": "%d"},
        {**about, "type": "task-failed", "traceback": "a\n\tb \x1b[31m"},
    ]) == [
        "w1@h [1970-01-01 00:00:00+00:00] task received: \\x1b]0;a\\x07(t1) args= kwargs= 100%s=%d",
        "w1@h [1970-01-01 00:00:00+00:00] task failed: \\x1b]0;a\\x07(t1) args= kwargs= traceback=a\n  \tb \\x1b[31m",
    ]  # fmt: skip


def test_no_event_forges_a_line_of_the_dump() -> None:
    forged = "\nw2@h [1970-01-01 00:00:00+00:00] shutdown "
    about = {"timestamp": 0, "uuid": forged, "traceback": f"a{forged}"}
    first = {"type": "task-received", "name": forged, "args": forged, "kwargs": forged}
    lines = Dump().lines({"hostname": forged, **about, **event} for event in (
        {"type": f"task-a{forged}"},
        first,
        {"type": "task-failed", "exception": forged, f"x{forged}": 1, "y": [forged]},
        {"type": f"a{forged}"},
    ))  # fmt: skip
    assert len(lines) == 4
    for line in lines:
        assert [part for part in line.split("\n")[1:] if not part.startswith("  ")] == []


@pytest.mark.parametrize("timestamp", [1e300, -1e12, -1e11 + 1, float("nan"), "now", [1]])
def test_a_time_of_no_calendar_is_refused(timestamp: Any) -> None:
    with pytest.raises(ValueError, match="is no time"):
        localized([{"type": "task-started", "timestamp": timestamp}])


def test_what_is_no_event_ends_no_monitor() -> None:
    got: list[str] = []
    with override_settings(TASKQ_CONTROL_URL="memory://"), Connection("memory://") as connection:
        receiver = Receiver({"*": lambda event: got.append(event["type"])}, connection, wait=0.01)
        reading = receiver.itercapture(wakeup=False)
        next(reading)
        exchange = event_exchange(connection)
        producer = connection.Producer(exchange=exchange, routing_key="task.multi")
        producer.publish([{"type": "first"}])
        for body in ("text", [3], {"type": None}, None):
            producer.publish(body)
        for method in ("zlib", "nonsense"):
            producer.publish([{"type": "not compressed"}], headers={"compression": method})
        producer.publish([{"type": "a", "x": "x" * 1_000_000}], compression="zlib")
        for raw in (b"\xff", b"[" * 100_000):
            producer.publish(raw, content_type="application/json", content_encoding="utf-8")
        producer.publish(b"", content_type="application/x-python-serialize", content_encoding="binary")
        producer.publish([{"type": "last"}])
        wait_until(lambda: next(reading) is not None and "last" in got, what="the last event")
        reading.close()
    assert got == ["first", "not compressed", "not compressed", "last"]


@pytest.mark.parametrize("as_bytes", [True, False])
def test_receiver_reads_types_of_kombu_and_leaves_out_what_is_no_event(as_bytes: bool) -> None:
    got: list[Any] = []
    receiver = Receiver({"*": got.append, "task-sent": lambda event: None})
    when = datetime(2026, 5, 1, tzinfo=UTC)
    for body in (
        dumps([{"type": "task-x", "n": 1}, {"type": "task-sent"}]),
        dumps({"type": "y", "when": when}),
        "[3]",
        "{",
    ):
        message = Message(
            body=body.encode() if as_bytes else body, content_type="application/json", content_encoding="utf-8"
        )
        receiver._receive(message)
    assert receiver._receive(Message(body="x", content_type="text/plain", content_encoding="utf-8")) == 0
    assert [(event["type"], event.get("when")) for event in got] == [("task-x", None), ("y", when)]
