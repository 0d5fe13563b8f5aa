"""The names that the protocol uses, and what every message has, however it was carried.

Source: Celery's message protocol, version 2.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from taskq.exceptions import InvalidTaskError
from taskq.messages import serializers, signing

Args = list[Any] | tuple[Any, ...]

#: The headers that are the protocol's own, in their order on the wire.
HEADERS = (
    *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"),
    *("parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers"),
    "stamps",
)
#: The third part of a body: what is to follow from the task.
EMBED = ("callbacks", "errbacks", "chain", "chord")
#: Header names that no caller may use.
RESERVED = frozenset({*HEADERS, signing.HEADER, serializers.COMPRESSION})
#: Longest id, name and queue, in characters: what the rows hold.
MAX_NAME = 255

# What the last delivery added. RabbitMQ takes x-death for a circle and drops the message.
_OF_DELIVERY = ("x-death", "x-first-death-", "x-last-death-", "redelivered", signing.HEADER)


def is_of_delivery(header: str) -> bool:
    """Tell whether ``header`` belongs to one delivery, and is to be left out when a message is sent again."""
    return header.startswith(_OF_DELIVERY)


class Carried(Protocol):
    """A received message as text; ``Claimed`` and ``Delivery`` are such."""

    headers: str
    body: str
    content_type: str
    content_encoding: str
    properties: str
    exchange: str
    routing_key: str
    priority: int


def mapping_of(text: str, error: type[Exception] = InvalidTaskError) -> dict[str, Any]:
    """Return the headers or properties of a received message, which are JSON. Raises ``error`` if they are not."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as exc:
        raise error(f"The headers and properties of a message must be JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise error(f"The headers and properties of a message must be mappings, not {value!r:.200}.")
    return value
