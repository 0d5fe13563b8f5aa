"""Messages of the mailbox: what is read, what is refused, and for whom a command is."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from taskq.control.orders import MOST, Order, read_order

JSON = "application/json"


def read(body: Any = None, headers: dict[str, Any] | None = None, **fields: Any) -> Order:
    return read_order(json.dumps({"method": "ping", **fields} if body is None else body), JSON, headers or {})


def test_a_command_of_celery_is_read() -> None:
    order = read(
        {
            "method": "revoke",
            "arguments": {"task_id": "a", "terminate": False, "signal": "SIGTERM"},
            "destination": ["w1@h"],
            "pattern": None,
            "matcher": None,
            "ticket": "t",
            "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "oid"},
        },
        {"clock": 7, "expires": 12.5},
    )
    assert order.method == "revoke"
    assert order.arguments["task_id"] == "a"
    assert order.reply_to == ("reply.celery.pidbox", "oid")
    assert (order.ticket, order.clock, order.expires) == ("t", 7, 12.5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"[]",
        b"null",
        b'"ping"',
        b"{}",
        b'{"method": 1}',
        b'{"method": ["ping"]}',
        b'{"method": "ping", "arguments": [1]}',
        b'{"method": "ping", "arguments": "x"}',
        b"[" * 100_000,
        b'{"method": "ping", "arguments": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b'{"method": "ping", "arguments": {"n": ' + b"9" * 10_000 + b"}}",
        b'{"method": "' + b"x" * MOST + b'"}',
    ],
    ids=lambda body: body[:24].decode("latin1"),
)
def test_what_is_no_command_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_order(body, JSON, {})


@pytest.mark.parametrize("content_type", [None, "", "application/x-python-serialize", "application/x-yaml"])
def test_only_json_is_read(content_type: str | None) -> None:
    with pytest.raises(ValueError, match="JSON"):
        read_order(b'{"method": "ping"}', content_type, {})


@pytest.mark.parametrize(
    "reply_to", [None, 1, "x", [], {}, {"exchange": 1, "routing_key": "k"}, {"exchange": "e"}, {"exchange": ["e"]}]
)
def test_a_wrong_reply_to_is_none(reply_to: Any) -> None:
    assert read(reply_to=reply_to).reply_to is None


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({}, True),
        ({"destination": []}, True),
        ({"destination": ["w1@h"]}, True),
        ({"destination": ["w2@h"]}, False),
        ({"destination": "w1@h"}, True),
        ({"destination": {"w1@h": 1}}, False),
        ({"destination": [None, 3, ["w1@h"]]}, False),
        ({"destination": ["w2@h"], "pattern": "w1*", "matcher": "glob"}, False),
        ({"pattern": "w1*", "matcher": "glob"}, True),
        ({"pattern": "w2*", "matcher": "glob"}, False),
        ({"pattern": "w[0-9]@*", "matcher": "glob"}, True),
        ({"pattern": "w2*", "matcher": None}, True),
    ],
)
def test_for_whom_a_command_is(fields: dict[str, Any], meant: bool) -> None:
    assert read(**fields).is_for("w1@h") is meant


@pytest.mark.parametrize(
    "fields",
    [
        {"pattern": r"(\w+)+$", "matcher": "pcre"},
        {"pattern": "x", "matcher": "no such"},
        {"pattern": "*" * 256, "matcher": "glob"},
    ],
)
def test_a_pattern_that_can_not_be_matched_is_a_value_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="pattern"):
        read(**fields).is_for("w1@h")


def test_the_patience_with_other_threads_follows_from_the_time_that_the_caller_waits() -> None:
    now = time.time()
    assert read().patience == read(headers={"expires": now + 1}).patience == pytest.approx(0.6)
    assert read(headers={"expires": now + 20}).patience == pytest.approx(19.6, abs=9)
    assert read(headers={"expires": now + 1000}).patience == 30


def test_an_expired_command_is_told_but_not_a_revoke() -> None:
    past, future = time.time() - 60, time.time() + 60
    assert read(headers={"expires": past}).has_expired()
    assert not read(headers={"expires": future}).has_expired()
    assert not read(headers={"expires": 0}).has_expired()
    assert not read(headers={"expires": "soon"}).has_expired()
    assert not read({"method": "revoke"}, {"expires": past}).has_expired()
