"""Real sends, held against messages that Celery 5.7 was caught sending for the same calls (``golden/``).

Ids are compared by where they come again, times and senders by their form. Left out of the
captures is what the transport that carried them has added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskq import chain, chord, group
from taskq.records import Envelope
from tests.unit.canvas.jobs import add, tsum
from tests.unit.tasks.fixtures import sent

__all__ = ["sent"]

GOLDEN = Path(__file__).parent / "golden"
MESSAGES: dict[str, list[dict[str, Any]]] = json.loads((GOLDEN / "messages.json").read_text())
SIGNATURES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "signatures.json").read_text())

_FORMS = {
    "a time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"),
    "a sender": re.compile(r"gen\d+@\S+"),
    "milliseconds": re.compile(r"\d{5}"),
}
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def options() -> None:
    errback = add.s()
    errback["task"] = "capapp.errb"
    add.apply_async(
        (1, 2), queue="hipri", countdown=30, expires=60, shadow="sh", time_limit=10, soft_time_limit=5,
        ignore_result=True, headers={"my": "h"}, priority=5, link=add.s(5), link_error=errback,
    )  # fmt: skip


def stamped() -> None:
    canvas = add.s(1, 2)
    canvas.stamp(tenant="t1", n=[1, 2])
    canvas.delay()


CALLS: dict[str, Callable[[], Any]] = {
    "plain": lambda: add.delay(1, 2),
    "options": options,
    "chain": chain(add.s(1, 2), add.s(3), add.s(4)),
    "group": group(add.s(1, 1), add.s(2, 2)),
    "chord": lambda: chord([add.s(1, 1), add.s(2, 2)])(tsum.s()),
    "task|group|task": add.s(1, 1) | group(add.s(2), add.s(3)) | tsum.s(),
    "map": lambda: add.map([1, 2]).delay(),
    "starmap": lambda: add.starmap([(1, 2), (3, 4)]).delay(),
    "chunks": add.chunks([(1, 2), (3, 4), (5, 6)], 2),
    "stamped": stamped,
}


class Form:
    """Brings values into one form: what differs from send to send is named."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.of(value[name]) for name in sorted(value)}
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        if _ID.fullmatch(text):
            return self._ids.setdefault(text, f"id {len(self._ids) + 1}")
        return next((name for name, pattern in _FORMS.items() if pattern.fullmatch(text)), text)


def as_captured(envelope: Envelope) -> dict[str, Any]:
    """Return what ``envelope`` is on the wire, as the captures have it."""
    return {
        "content-type": envelope.content_type,
        "content-encoding": envelope.content_encoding,
        "headers": json.loads(json.dumps(envelope.headers)),
        # That transport had a priority in every message; here one that nobody asked for is left out.
        "properties": {"priority": 0} | envelope.properties,
        "body": json.loads(envelope.body),
    }


@pytest.mark.parametrize("call", MESSAGES)
def test_messages_are_those_that_celery_was_caught_sending(call: str, sent: list[Envelope], settings: Any) -> None:
    # One that Celery's workers read too: between workers on the database a chord's body is in its row alone.
    settings.TASKQ_BROKER_URL = "redis://localhost"
    CALLS[call]()
    captured = MESSAGES[call]
    assert len(sent) == len(captured)
    ours, theirs = Form(), Form()
    for envelope, message in zip(sent, captured, strict=True):
        assert list(envelope.headers) == list(message["headers"])
        assert ours.of(as_captured(envelope)) == theirs.of(message)


@pytest.mark.parametrize(
    ("name", "canvas"),
    {
        "sig": add.s(1, 2).set(queue="q"),
        "si": add.si(1),
        "chain": chain(add.s(1, 2), add.s(3)),
        "group": group(add.s(1, 1), add.s(2, 2)),
        "chord": chord([add.s(1, 1)], tsum.s()),
        "xmap": add.map([1]),
        "xstar": add.starmap([(1, 2)]),
        "chunks": add.chunks([(1, 2)], 1),
    }.items(),
)
def test_signatures_as_json_are_those_of_celery(name: str, canvas: Any) -> None:
    assert json.loads(json.dumps(canvas)) == SIGNATURES[name]


def test_every_capture_is_compared() -> None:
    assert set(CALLS) == set(MESSAGES)
    assert len(SIGNATURES) == 8
