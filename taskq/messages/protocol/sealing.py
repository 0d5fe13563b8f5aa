"""Seals messages, and verifies the seals of received ones, while ``TASKQ_SIGNING`` is on.

A seal covers everything that the sender wrote: the body as it travels (after compression, so that nothing is opened
before it is verified), all headers and properties, the content type and encoding, the queue, the exchange, the routing
key, the priority, and whether the task has a row. Whatever deliveries change is not covered (``is_of_delivery``).
``seal`` is called just before messages are inserted, when nothing changes them any more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from taskq.conf import settings
from taskq.exceptions import DecodeError, SignatureMismatch
from taskq.messages import serializers, signing
from taskq.messages.parking import home
from taskq.records import Envelope

from .wire import RawMessage, is_of_delivery, mapping_of

_PURPOSE = "message"


class StoredMessage(RawMessage, Protocol):
    """A message as in its row; ``Claimed`` and the models implement it."""

    queue: str
    task_id: str
    tracked: bool


def seal(envelopes: Iterable[Envelope]) -> None:
    """Write a seal into the headers of each message. Does nothing while ``TASKQ_SIGNING`` is off."""
    if settings.SIGNING:
        for envelope in envelopes:
            headers = _plain(envelope.headers)
            facts = _facts(envelope, headers, _plain(envelope.properties))
            digest = signing.mac(_PURPOSE, facts, serializers.to_bytes(envelope.body, envelope.properties))
            # Copies for several queues share their headers, and each has a seal of its own.
            envelope.headers = {**envelope.headers, signing.HEADER: digest}


def verify(message: StoredMessage) -> None:
    """Raise ``SignatureMismatch`` unless a message has a valid seal. Nothing in it can be relied on before this."""
    headers = mapping_of(message.headers, SignatureMismatch)
    properties = mapping_of(message.properties, SignatureMismatch)
    digest = headers.get(signing.HEADER)
    if not isinstance(digest, str):
        raise SignatureMismatch("The message is not signed, and TASKQ_SIGNING is on.")
    try:
        body = serializers.to_bytes(message.body, properties)
    except DecodeError as error:
        raise SignatureMismatch(f"The body of the message was altered: {error}") from error
    same_task = message.task_id == headers.get("id")
    if not (same_task and signing.is_mac(digest, _PURPOSE, _facts(message, headers, properties), body)):
        raise SignatureMismatch(
            "The message was altered, or is not signed by SECRET_KEY or a key in SECRET_KEY_FALLBACKS."
        )


def _plain(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers or properties as their receiver decodes them."""
    decoded: dict[str, Any] = json.loads(serializers.to_json(mapping))
    return decoded


def _facts(
    message: Envelope | StoredMessage, headers: Mapping[str, Any], properties: Mapping[str, Any]
) -> tuple[object, ...]:
    return (
        {name: value for name, value in headers.items() if not is_of_delivery(name)},
        {name: value for name, value in properties.items() if name != serializers.BODY_ENCODING},
        message.content_type,
        message.content_encoding,
        home(message.queue),
        message.exchange,
        message.routing_key,
        int(message.priority),
        bool(message.tracked),
    )
