"""``TASKQ_SIGNING``: what seals cover, with which keys, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from django.test import override_settings

from taskq.exceptions import SignatureMismatch
from taskq.messages import protocol, signing
from taskq.records import Claimed, Envelope

from .test_protocol_retry import received

pytestmark = pytest.mark.usefixtures("signed")


@pytest.fixture
def signed() -> Any:
    with override_settings(TASKQ_SIGNING=True, SECRET_KEY="first key", SECRET_KEY_FALLBACKS=[]):
        yield


def sent(**options: Any) -> Claimed:
    """Return a sealed message, as a worker gets it."""
    given = {
        "name": "shop.add", "args": (2, 2), "queue": "q", "expires": 60, "countdown": 60, "priority": 4,
        "time_limit": 9, "group_id": "g", "group_index": 2, "root_id": "r", "parent_id": "p", "retries": 1,
        "stamped_headers": ["s"], "stamps": {"s": 1}, "headers": {"own": [1.5, None], "2": "b", "10": "a"},
    }  # fmt: skip
    envelope = protocol.build(**{**given, **options})
    return claimed(envelope)


def claimed(envelope: Envelope) -> Claimed:
    envelope.tracked = True
    protocol.seal([envelope])
    return received(envelope)


def altered(message: Claimed, part: str, name: str, value: Any) -> Claimed:
    return replace(message, **{part: json.dumps({**json.loads(getattr(message, part)), name: value})})


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "gzip"}, {"serializer": "yaml"}, {"serializer": "pickle", "args": (b"\xff", "é\ud800")}],
    ids=str,
)
def test_sealed_message_is_authentic(options: dict[str, Any]) -> None:
    message = sent(**options)
    protocol.verify(message)
    with override_settings(SECRET_KEY="another key"), pytest.raises(SignatureMismatch):
        protocol.verify(message)


def test_what_deliveries_change_is_not_sealed() -> None:
    message = sent()
    protocol.verify(replace(message, redelivered=True, deliveries=3, promoted=True))
    counted = altered(message, "headers", "x-delivery-count", 4)
    protocol.verify(counted)
    with pytest.raises(SignatureMismatch):
        protocol.verify(altered(counted, "headers", "retries", 4))


def test_every_header_and_property_is_sealed() -> None:
    message = sent(compression="gzip")
    for part in ("headers", "properties"):
        for name in [*json.loads(getattr(message, part)), "added"]:
            with pytest.raises(SignatureMismatch):
                protocol.verify(altered(message, part, name, "other"))


@pytest.mark.parametrize(
    "change",
    [
        {"queue": "r"}, {"task_id": "other"}, {"body": "[[2, 3], {}, {}]"}, {"content_type": "application/x-yaml"},
        {"content_encoding": "binary"}, {"exchange": "x"}, {"routing_key": "k"}, {"priority": 5}, {"tracked": False},
        {"headers": "{"}, {"headers": "[]"}, {"properties": "{"}, {"headers": "{}"},
        {"properties": '{"body_encoding": "base64"}'},
    ],
    ids=str,
)  # fmt: skip
def test_every_column_that_the_sender_wrote_is_sealed(change: dict[str, Any]) -> None:
    with pytest.raises(SignatureMismatch):
        protocol.verify(replace(sent(), **change))


def test_message_without_a_seal_is_refused() -> None:
    with override_settings(TASKQ_SIGNING=False):
        message = sent()
    with pytest.raises(SignatureMismatch, match="not signed"):
        protocol.verify(message)
    with pytest.raises(SignatureMismatch, match="not signed"):
        protocol.verify(altered(message, "headers", signing.HEADER, 5))


def test_copies_for_several_queues_have_seals_of_their_own() -> None:
    envelope = protocol.build(name="shop.add", queue="a")
    copies = [envelope, replace(envelope, queue="b")]
    protocol.seal(copies)
    for copy, other in (copies, copies[::-1]):
        protocol.verify(received(copy, tracked=False))
        with pytest.raises(SignatureMismatch):
            protocol.verify(received(replace(copy, queue=other.queue), tracked=False))


def test_fallback_keys_are_for_reading() -> None:
    message, text = sent(), signing.seal_text("group.body", "[]", "g")
    value = signing.seal_value("application/json", "1", "t")
    with override_settings(SECRET_KEY="second key", SECRET_KEY_FALLBACKS=["first key"]):
        protocol.verify(message)
        assert signing.open_text("group.body", text, "g") == "[]"
        assert signing.open_value(value, "1", "t") == "application/json"
    with override_settings(SECRET_KEY="second key"):
        for refused in (
            lambda: protocol.verify(message),
            lambda: signing.open_text("group.body", text, "g"),
            lambda: signing.open_value(value, "1", "t"),
        ):
            with pytest.raises(SignatureMismatch, match="SECRET_KEY_FALLBACKS"):
                refused()


@pytest.mark.parametrize("changes", [{}, {"args": (3, 3)}, {"countdown": 10}], ids=str)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_retry_has_a_seal_of_its_own(changes: dict[str, Any], compression: str | None) -> None:
    first = sent(compression=compression)
    again = claimed(protocol.retry_envelope(first, **changes))
    protocol.verify(again)
    # It binds the number of the try.
    with pytest.raises(SignatureMismatch):
        protocol.verify(altered(again, "headers", "retries", 1))


# -- texts and values in rows


def test_stored_text_belongs_to_its_column_and_row() -> None:
    stored = signing.seal_text("group.body", '{"task": "a"}', "g", "r")
    assert signing.open_text("group.body", stored, "g", "r") == '{"task": "a"}'
    for purpose, text, about in (
        ("group.body", stored, ("h", "r")),
        ("other", stored, ("g", "r")),
        ("group.body", stored.replace("a", "b"), ("g", "r")),
        ("group.body", '{"task": "a"}', ("g", "r")),
        ("group.body", stored[:-1], ("g", "r")),
    ):
        with pytest.raises(SignatureMismatch, match=purpose):
            signing.open_text(purpose, text, *about)


def test_value_is_sealed_in_its_content_type() -> None:
    sealed = signing.seal_value("application/x-python-serialize;base64", "gA==", "t", "SUCCESS")
    assert len(sealed) <= 64, "the column holds no more"
    assert signing.seal_value(sealed, "gA==", "t", "SUCCESS") == sealed
    assert signing.open_value(sealed, "gA==", "t", "SUCCESS") == "application/x-python-serialize;base64"
    for content_type, text, about in (
        (sealed, "gB==", ("t", "SUCCESS")),
        (sealed, None, ("t", "SUCCESS")),
        (sealed, "gA==", ("u", "SUCCESS")),
        (sealed, "gA==", ("t", "FAILURE")),
        ("application/json" + sealed[sealed.index(";mac=") :], "gA==", ("t", "SUCCESS")),
        (signing.plain_type(sealed), "gA==", ("t", "SUCCESS")),
    ):
        with pytest.raises(SignatureMismatch):
            signing.open_value(content_type, text, *about)


def test_with_signing_off_nothing_is_sealed_and_old_seals_are_taken_off() -> None:
    text, value = signing.seal_text("group.body", "[]", "g"), signing.seal_value("application/json", "1", "t")
    with override_settings(TASKQ_SIGNING=False):
        assert signing.seal_text("group.body", "[]", "g") == "[]"
        assert signing.seal_value("application/json", "1", "t") == "application/json"
        assert signing.open_text("group.body", text, "g") == "[]"
        assert signing.open_text("group.body", "[]", "g") == "[]"
        assert signing.open_value(value, "1", "t") == "application/json"
        envelope = protocol.build(name="shop.add", queue="q")
        protocol.seal([envelope])
        assert signing.HEADER not in envelope.headers
