"""The names in Celery's message protocol, version 2, and the fields of every received message."""

from __future__ import annotations

import json
from typing import Any, Protocol

from taskq.exceptions import InvalidTaskError
from taskq.messages import serializers, signing

Args = list[Any] | tuple[Any, ...]

#: The headers of the protocol, in their order on the wire.
HEADERS = (
    *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"),
    *("parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers"),
    "stamps",
)
#: The third part of a body: the follow-ups of the task.
EMBED = ("callbacks", "errbacks", "chain", "chord")
#: Properties of AMQP that callers may set; taskq only carries them.
PROPERTIES = frozenset({"app_id", "cluster_id", "message_id", "type", "user_id"})
#: Header names that no caller may use.
RESERVED = frozenset({*HEADERS, signing.HEADER, serializers.COMPRESSION})

# Headers of the last delivery, which a message that is sent again does not keep: with x-death, RabbitMQ would see a
# cycle and drop the message.
#: The header that counts how often a message was requeued by its consumer, as in RabbitMQ's quorum queues.
DELIVERY_COUNT = "x-delivery-count"
#: The header with the Unix time at which a worker first met the message and did not know its task.
UNKNOWN_SINCE = "x-unknown-since"
_OF_DELIVERY = (
    DELIVERY_COUNT, UNKNOWN_SINCE, "x-death", "x-first-death-", "x-last-death-", "redelivered", signing.HEADER,
)  # fmt: skip


def is_of_delivery(header: str) -> bool:
    """Tell whether ``header`` belongs to one delivery: it is left out when the message is sent again."""
    return header.startswith(_OF_DELIVERY)


class RawMessage(Protocol):
    """A received message, nothing decoded; ``models.Message`` implements it too."""

    headers: str
    body: str
    content_type: str
    content_encoding: str
    properties: str
    exchange: str
    routing_key: str
    priority: int


class ReceivedMessage(RawMessage, Protocol):
    """A raw message that knows when it expires by the database's clock; ``Claimed`` and ``Delivery`` implement it."""

    @property
    def expires_in(self) -> float | None:
        """The seconds until the message expires."""


_raw_decode = json.JSONDecoder().raw_decode


def _parsed(text: str) -> Any:
    """Do ``json.loads``, in half the time for a text that is one mapping: each message has several of these."""
    if text[0] == "{" and text[-1] == "}":
        value, end = _raw_decode(text)
        if end == len(text):
            return value
    return json.loads(text)


def mapping_of(text: str, error: type[Exception] = InvalidTaskError) -> dict[str, Any]:
    """Return the headers or properties of a received message, which are JSON. Raises ``error`` if they are not."""
    try:
        value = _parsed(text or "{}")
    except (ValueError, RecursionError) as exc:
        raise error(f"The headers and properties of a message must be JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise error(f"The headers and properties of a message must be mappings, not {value!r:.200}.")
    return value
