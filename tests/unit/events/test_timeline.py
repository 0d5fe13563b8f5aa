"""Which rows the timeline writes, and when; nothing is written here."""

from __future__ import annotations

import itertools
from signal import Signals
from types import SimpleNamespace
from typing import Any

import pytest

from taskq import states
from taskq.events import timeline as module
from taskq.events.dispatcher import _MOST, _parts
from taskq.events.timeline import Timeline
from taskq.exceptions import TaskRevokedError
from taskq.messages.exception_data import encode_exception
from taskq.records import Settlement
from taskq.store.timeline import Moment


class Written(list[Moment]):
    """A timeline on a clock that the test moves, with a worker that holds no message but 1."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(module.timeline, "write", lambda worker, batch, alias: self.extend(batch))
        store: Any = SimpleNamespace(calls=SimpleNamespace(wake=lambda: None), alias="default")
        lease: Any = SimpleNamespace(name="w1@h", holds=lambda message_id: message_id == 1)
        self.timeline = Timeline(store, lease)

    def work(self) -> None:
        while self.timeline.work():
            pass


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    return Written(monkeypatch)


def requests(count: int) -> list[Any]:
    return [SimpleNamespace(message=SimpleNamespace(id=n, task_id=f"t{n}")) for n in range(count)]


def test_receipts_are_written_after_a_moment(written: Written) -> None:
    written.timeline.received(requests(3))
    written.work()
    assert (list(written), written.timeline.done) == ([], False)
    assert written.timeline.due() == pytest.approx(0.2)
    written.now += 0.3
    written.work()
    assert [(moment.kind, moment.task_id) for moment in written] == [("received", f"t{n}") for n in range(3)]
    assert (written.timeline.done, written.timeline.due()) == (True, None)


def test_of_many_receipts_those_of_ended_tasks_are_left_out(written: Written) -> None:
    written.timeline.received(requests(200))
    written.now += 0.3
    written.work()
    assert [moment.task_id for moment in written] == ["t1"]


def test_retries_and_revocations_are_always_written(written: Written) -> None:
    end = {"name": "add", "finished": 5.0}
    error = encode_exception(TaskRevokedError("terminated"))
    written.timeline.revoked(requests(8)[7], "terminated", Signals.SIGTERM)
    written.timeline.settled([
        Settlement(6, "t6", states.RETRY, **end),  # type: ignore[arg-type]
        Settlement(7, "t7", states.REVOKED, result=error, **end),  # type: ignore[arg-type]
        Settlement(8, "t8", states.SUCCESS, **end),  # type: ignore[arg-type]
    ])  # fmt: skip
    written.work()
    assert written == [Moment("t6", "retried", 5.0), Moment("t7", "revoked", 5.0, "terminated SIGTERM")]


def test_messages_of_events_have_bounds() -> None:
    many = ["x"] * (_MOST + 1)
    assert [len(part) for part in _parts(many)] == [_MOST, 1]
    long = ["x" * 800_000] * 5
    assert [len(part) for part in _parts(long)] == [2, 2, 1]
    assert [len(part) for part in _parts(["x" * 3_000_000] * 2)] == [1, 1]
    assert list(itertools.chain(*_parts([]))) == []
