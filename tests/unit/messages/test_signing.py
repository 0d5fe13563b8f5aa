"""``TASKQ_SIGNING``: what is sealed, with which keys, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import override_settings

from taskq.exceptions import SignatureMismatch
from taskq.messages import protocol, signing
from taskq.records import Envelope

from .test_protocol_retry import received

pytestmark = pytest.mark.usefixtures("signed")


@pytest.fixture
def signed() -> Any:
    with override_settings(TASKQ_SIGNING=True, SECRET_KEY="first key", SECRET_KEY_FALLBACKS=[]):
        yield


def sent(**options: Any) -> Envelope:
    return protocol.build(**{"name": "shop.add", "args": (2, 2), "queue": "q", **options})


def read(envelope: Envelope, **headers: Any) -> Any:
    return protocol.decode_body(
        envelope.body,
        envelope.content_type,
        envelope.content_encoding,
        json.loads(json.dumps(envelope.headers | headers)),
        envelope.properties,
    )


@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip"}, {"countdown": 10, "expires": 60, "retries": 2}], ids=str
)
def test_signed_message_is_read(options: dict[str, Any]) -> None:
    envelope = sent(**options)
    assert list(envelope.headers)[-1] == signing.HEADER
    assert read(envelope)[0] == [2, 2]


def test_a_message_without_a_signature_is_refused() -> None:
    with override_settings(TASKQ_SIGNING=False):
        envelope = sent()
    assert signing.HEADER not in envelope.headers
    with pytest.raises(SignatureMismatch, match="not signed"):
        read(envelope)


@pytest.mark.parametrize(
    "change",
    [
        {"task": "shop.remove"},
        {"id": "other"},
        {"eta": "2040-01-01T00:00:00+00:00"},
        {"expires": None},
        {"retries": 0},
        {signing.HEADER: "0" * 64},
        {signing.HEADER: "✓"},
        {signing.HEADER: 5},
    ],
    ids=str,
)
def test_altered_headers_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SignatureMismatch, match=r"shop\."):
        read(sent(retries=1, expires=60), **change)


def test_an_altered_body_is_refused() -> None:
    envelope = sent()
    envelope.body = str(envelope.body).replace("2", "3")
    with pytest.raises(SignatureMismatch, match="altered"):
        read(envelope)


def test_another_content_type_is_refused() -> None:
    envelope = sent()
    with pytest.raises(SignatureMismatch):
        signing.verify(envelope.headers, envelope.body, "application/x-yaml")


def test_message_signed_with_a_fallback_key_is_read() -> None:
    envelope = sent()
    with override_settings(SECRET_KEY="second key", SECRET_KEY_FALLBACKS=["first key"]):
        assert read(envelope)[0] == [2, 2]
    with override_settings(SECRET_KEY="second key"), pytest.raises(SignatureMismatch, match="SECRET_KEY_FALLBACKS"):
        read(envelope)


@pytest.mark.parametrize("changes", [{}, {"args": (3, 3)}, {"countdown": 10}], ids=str)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_retry_is_signed_anew(changes: dict[str, Any], compression: str | None) -> None:
    first = sent(compression=compression)
    again = protocol.retry_envelope(received(first), **changes)
    assert again.headers[signing.HEADER] != first.headers[signing.HEADER]
    assert read(again)[0] == list(changes.get("args", (2, 2)))


def test_protocol_1_message_is_refused_when_signing_is_on() -> None:
    body = json.dumps({"task": "shop.add", "id": "1", "args": [], "kwargs": {}})
    with pytest.raises(SignatureMismatch):
        protocol.decode_body(body, "application/json", "utf-8", {}, {})
