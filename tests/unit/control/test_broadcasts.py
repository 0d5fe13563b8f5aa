"""Callers, over kombu's transport in memory: whom they ask, and what they pass over in the queue of replies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from taskq import control
from taskq.worker.remote import connection as names
from taskq.worker.remote.link import Link
from taskq.worker.remote.thread import RemoteThread
from tests.support.waiting import wait_until


class Stranger:
    """Sends anything to the queue of replies, and last a reply. Its name is taken from the command."""

    def __init__(self) -> None:
        self.read: list[dict[str, Any]] = []
        self.rubbish: list[tuple[Any, dict[str, Any]]] = []

    def connected(self, link: Link) -> None:
        self._link = link
        link.consume(names.mailbox_queue("stranger@here"), self._answer)

    def leaving(self, link: Link) -> None: ...

    def _answer(self, message: Any) -> None:
        order = json.loads(message.body)
        self.read.append(order)
        if "reply_to" not in order:
            return
        key, headers = order["reply_to"]["routing_key"], {"ticket": order["ticket"], "clock": 1}
        producer = self._link.connection.Producer(exchange=names.reply_exchange(), routing_key=key)
        for body, options in self.rubbish:
            with_headers = {"headers": headers} | options if isinstance(options.get("headers", {}), dict) else options
            producer.publish(body, **with_headers)
        producer.publish({"good@here": {"ok": "pong"}}, headers=headers)


RAW = {"content_type": "application/json", "content_encoding": "utf-8"}
RUBBISH: list[tuple[Any, dict[str, Any]]] = [
    (b"", RAW),
    (b"\xff\xfe", RAW),
    (b"{", RAW),
    (b"[" * 100_000, RAW),
    (b'{"a": ' + b"9" * 5000 + b"}", RAW),
    (b"not json", {"content_type": "text/plain", "content_encoding": "utf-8"}),
    ([1, 2], {}),
    ("text", {}),
    (None, {}),
    ({}, {}),
    ({"a": 1, "b": 2}, {}),
    ({"other": "ticket"}, {"headers": {"ticket": "other", "clock": 2}}),
    ({"no": "ticket"}, {"headers": {}}),
    ({"compressed": "not"}, {"headers": {"compression": "zlib"}}),
]


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with override_settings(TASKQ_CONTROL_URL="memory://"):
        stranger, thread = Stranger(), RemoteThread()
        thread.add(stranger)
        thread.start()
        wait_until(lambda: thread.is_settled and thread.link, what="the stranger to listen")
        yield stranger
        thread.end(10)


def test_malformed_replies_are_passed_over(stranger: Stranger) -> None:
    stranger.rubbish = RUBBISH
    assert control.ping(timeout=60, limit=1) == [{"good@here": {"ok": "pong"}}]
    assert control.inspect(timeout=60, limit=1).ping() == {"good@here": {"ok": "pong"}}


def test_only_who_was_asked_is_heard(stranger: Stranger) -> None:
    stranger.rubbish = [({"other@here": {"ok": "pong"}}, {})]
    pattern = {"pattern": "stranger@*", "matcher": "glob"}
    assert len(control.broadcast("ping", reply=True, timeout=60, limit=2, **pattern) or ()) == 2
    assert control.broadcast("ping", None, ["stranger@here", "good@here"], reply=True, timeout=60, limit=1) == [
        {"good@here": {"ok": "pong"}}
    ]


def test_a_reply_that_is_too_large_is_passed_over(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.control.broadcasts.MOST", 1000)
    stranger.rubbish = [({"large@here": "x" * 1000}, {})]
    assert control.ping(timeout=60, limit=1) == [{"good@here": {"ok": "pong"}}]


@pytest.mark.parametrize("none", [[], ()])
def test_no_destination_is_nobody(stranger: Stranger, none: Any) -> None:
    assert control.ping(destination=none, timeout=60) == []
    assert control.inspect(none, timeout=60).ping() == {}
    assert control.broadcast("shutdown", destination=none) is None
    # What is sent after it is what comes first.
    control.broadcast("heartbeat")
    wait_until(lambda: stranger.read, what="a message")
    assert [each["method"] for each in stranger.read] == ["heartbeat"]
