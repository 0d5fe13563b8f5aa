"""What the dispatcher sends of what was noted, and what becomes of it while nothing can be sent."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from taskq.events import dispatcher as module
from taskq.events import names
from taskq.events.dispatcher import Dispatcher
from taskq.handover import Report


class Gone(Exception):
    """The connection is gone."""


class Link:
    """A connection that keeps what is published, and raises ``errors`` first, one at a time."""

    connection_errors = (Gone,)

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.errors: list[Exception] = []
        self.compressed = False
        self.connection = SimpleNamespace(channel=lambda: None, transport=SimpleNamespace(driver_type="django"))
        self.later: list[Any] = []
        self.pauses: list[float] = []

    def publish(self, body: Any, exchange: Any, key: str, *, headers: Any, encoded: bool) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.compressed = "compression" in headers
        self.sent.append((key, json.loads(zlib.decompress(body) if self.compressed else body) if encoded else body))

    def after(self, seconds: float, call: Any) -> None:
        self.later.append(call)
        self.pauses.append(seconds)

    def every(self, seconds: float, call: Any) -> None:
        """A timer, which never rings here."""

    def kinds(self) -> list[str]:
        """The types of all events that were sent, in their order."""
        return [event["type"] for _, body in self.sent for event in (body if isinstance(body, list) else [body])]


class Desk:
    """A dispatcher with a connection; ``post`` makes calls at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard = True
        self.now = 100.0
        monkeypatch.setattr(names, "is_heard", lambda *args: self.heard)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.remote = SimpleNamespace(link=None, post=lambda call, *args: call(*args))
        node: Any = SimpleNamespace(options=SimpleNamespace(name="w@h"), remote=self.remote)
        self.dispatcher = Dispatcher(node, None)
        monkeypatch.setattr(self.dispatcher, "_begun", list)
        self.link = self.connect()

    def connect(self) -> Link:
        self.link = self.remote.link = Link()  # type: ignore[assignment]
        self.dispatcher.connected(self.link)  # type: ignore[arg-type]
        return self.link

    def note(self, *kinds: str) -> None:
        for kind in kinds:
            self.dispatcher._note(make, kind, 1)


def make(batch: str, at: str) -> Iterable[str]:
    if batch == "bad":
        raise ValueError("no event")
    return [f'{{"type": "{batch}"']


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


@pytest.fixture
def beating(desk: Desk) -> Desk:
    """A dispatcher whose worker has events of its own, and no tasks."""
    desk.dispatcher._interval = 2.0
    holdings = SimpleNamespace(running=lambda pool: [], totals={}, ids=set)
    consumer: Any = SimpleNamespace(holdings=holdings, pool=None)
    desk.dispatcher._node.consumer = consumer
    return desk


def test_batch_that_makes_no_events_leaves_the_others(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.note("first", "bad", "last")
    desk.dispatcher._flush()
    assert desk.link.kinds() == ["first", "last"]
    assert "no event" in caplog.text
    assert desk.dispatcher._waiting == 0


def test_message_that_is_refused_leaves_those_behind_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_MOST", 1)
    desk.link.errors = [ValueError("refused")]
    desk.note("first", "second", "third")
    desk.dispatcher._flush()
    assert desk.link.kinds() == ["second", "third"]
    assert "refused" in caplog.text


def test_what_a_lost_connection_leaves_is_sent_over_the_next_one_in_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    desk.link.errors = [Gone()]
    desk.note("a", "b", "c")
    with pytest.raises(Gone):
        desk.dispatcher._flush()
    desk.remote.link = None
    desk.note("d")
    link = desk.connect()
    assert link.later, "the rest is not forgotten until the next event"
    desk.dispatcher._flush()
    assert link.kinds() == ["a", "b", "c", "d"]
    assert not desk.dispatcher._unsent


def test_many_messages_of_one_flush_are_all_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 1)
    kinds = [f"event-{number}" for number in range(3 * module._MOST_UNSENT)]
    desk.note(*kinds)
    desk.dispatcher._flush()
    assert desk.link.kinds() == kinds


def test_many_events_are_gathered_for_longer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MANY", 2)
    for kinds in (["a", "b"], ["c"], ["d"]):
        desk.note(*kinds)
        desk.dispatcher._flush()
    assert desk.link.pauses == [module._GATHERED, module._GATHERED_LONGER, module._GATHERED]
    assert desk.link.kinds() == ["a", "b", "c", "d"]


def test_what_waited_too_long_for_a_connection_is_not_sent(desk: Desk) -> None:
    desk.remote.link = None
    desk.note("old")
    desk.dispatcher._flush_soon()
    desk.now += 2 * module._KEPT
    link = desk.connect()
    desk.dispatcher._flush()
    assert link.kinds() == []


def test_little_is_kept_and_not_for_long(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.dispatcher._unsent.extend([("[]", "task.multi")] * 1000)
    assert len(desk.dispatcher._unsent) == module._MOST_UNSENT
    desk.remote.link = None
    desk.note("a")
    desk.now += module._KEPT / 2
    desk.note("b")
    assert desk.dispatcher._waiting == 2
    desk.now += module._KEPT
    desk.note("c")
    assert (desk.dispatcher.heard, desk.dispatcher._waiting, len(desk.dispatcher._unsent)) == (False, 0, 0)


def test_nothing_is_kept_for_nobody(desk: Desk) -> None:
    desk.note("a")
    desk.heard = False
    desk.connect()
    desk.dispatcher._flush()
    assert desk.link.sent == []
    assert not desk.dispatcher._noted


def test_events_of_tasks_travel_together_and_others_under_their_own_key(desk: Desk) -> None:
    for event in ("task-progress", "shop-sold"):
        desk.dispatcher.sent_by_task(None, Report(1, "t1", "", '{"done": 3}', at=5.0, event=event))
    desk.dispatcher._flush()
    found = dict(desk.link.sent)
    assert found.keys() == {"task.multi", "shop.sold"}
    (progress,) = found["task.multi"]
    assert (progress["type"], progress["done"], progress["uuid"]) == ("task-progress", 3, "t1")
    assert (found["shop.sold"]["type"], found["shop.sold"]["hostname"]) == ("shop-sold", "w@h")


@pytest.mark.parametrize(("broker", "compressed"), [("django", True), ("redis", False), ("py-amqp", False)])
def test_a_long_message_is_compressed_where_it_is_a_row(desk: Desk, broker: str, compressed: bool) -> None:
    desk.link.connection.transport.driver_type = broker
    kind = "x" * module._LONG
    desk.note(kind)
    desk.dispatcher._flush()
    assert desk.link.compressed is compressed
    assert desk.link.kinds() == [kind]
    desk.note("short")
    desk.dispatcher._flush()
    assert not desk.link.compressed


def test_a_worker_is_offline_when_it_begins_to_end_and_beats_no_more(beating: Desk) -> None:
    beating.dispatcher.beat()
    beating.note("task-started")
    beating.dispatcher.ending("Warm", "SIGTERM", 1)
    beating.dispatcher.beat()
    assert beating.link.kinds() == ["worker-heartbeat", "task-started", "worker-offline"]
    beating.note("task-succeeded")
    beating.dispatcher.leaving(beating.link)  # type: ignore[arg-type]
    assert beating.link.kinds()[3:] == ["task-succeeded", "worker-offline"]


def test_a_worker_that_ends_is_not_online_over_a_new_connection(beating: Desk) -> None:
    beating.dispatcher.ending("Warm", "SIGTERM", 1)
    assert beating.connect().kinds() == ["worker-offline"]
