"""Messages: kombu's messages become envelopes, and rows become kombu's messages.

A body that is text is stored as it is; other bytes are stored as base64, which the property
``body_encoding`` says. The delivery tag is the row's id.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kombu.exceptions import KombuError
from kombu.transport import base
from kombu.utils.json import loads

from taskq import timezones
from taskq.exceptions import InvalidTaskError, TaskqError
from taskq.messages import serializers
from taskq.records import Claimed, Envelope, Moment

from .entities import LONGEST

if TYPE_CHECKING:
    from taskq.store.exchanges import Target

    from .channel import Channel

#: Properties that are columns, or belong to one delivery.
_NOT_STORED = frozenset({"delivery_info", "delivery_tag", "body_encoding"})


def envelopes(
    message: Mapping[str, Any], exchange: str, routing_key: str, targets: Sequence[Target], now: float
) -> list[Envelope]:
    """Return one envelope for each target of ``message``, which ``prepare_message`` made.

    Times to live count from ``now``, a Unix time. Raises ``ValueError`` for a name that is too long, and a
    body that is too large.
    """
    for name, value in (("exchange", exchange), ("routing_key", routing_key)):
        if len(value) > LONGEST:
            raise ValueError(f"{name} is {len(value)} characters long: at most {LONGEST} are possible.")
    headers, properties = message["headers"], message["properties"]
    task_expires = _task_expires(headers.get("expires")) if "task" in headers else None
    ttl = _milliseconds(properties.get("expiration"))
    expiries = [_expiry(task_expires, _earliest(ttl, target.message_ttl), now) for target in targets]
    return [
        Envelope(
            task_id=_column(headers.get("id")),
            name=_column(headers.get("task")),
            queue=target.queue,
            headers=headers,
            body=_checked(_stored_body(message["body"], headers)),
            content_type=message["content-type"] or "",
            content_encoding=message["content-encoding"] or "",
            exchange=exchange,
            routing_key=routing_key,
            priority=_priority(properties),
            properties={name: value for name, value in properties.items() if name not in _NOT_STORED},
            expires=expires,
            expires_in=expires_in,
        )
        for target, (expires, expires_in) in zip(targets, expiries, strict=True)
    ]


def _checked(body: str | bytes) -> str | bytes:
    try:
        serializers.check_size(body)
    except InvalidTaskError as error:
        raise ValueError(str(error)) from None
    return body


def _column(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= LONGEST else ""


def _priority(properties: Mapping[str, Any]) -> int:
    try:
        return max(0, min(9, int(properties["priority"])))
    except (KeyError, TypeError, ValueError):
        return 0


def _milliseconds(value: Any) -> float | None:
    """Return milliseconds as seconds."""
    return None if value is None else float(value) / 1000


def _expiry(task_expires: float | None, ttl: float | None, now: float) -> Moment:
    """Return when the task or its message expires, whichever is earlier, and the time to live if that decides."""
    if ttl is not None and (task_expires is None or now + ttl < task_expires):
        return now + ttl, ttl
    return task_expires, None


def _task_expires(value: Any) -> float | None:
    if isinstance(value, datetime):
        return timezones.to_utc(value).timestamp()
    try:
        return timezones.parse_iso(value).timestamp()
    except (TypeError, ValueError):
        return None  # the worker that runs the task reports it


def _earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _stored_body(body: str | bytes, headers: Mapping[str, Any]) -> str | bytes:
    """Return the body as text if every database stores it unchanged, else as bytes."""
    if isinstance(body, str):
        return body.encode() if "\x00" in body else body
    if headers.get("compression"):
        return body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    return body if "\x00" in text else text


def _opened(claimed: Claimed, headers: Mapping[str, Any], properties: Mapping[str, Any]) -> str | bytes:
    if claimed.refused:
        raise InvalidTaskError(claimed.refused)
    return serializers.decompress(serializers.sealed_part(claimed.body, properties), headers)


def _mapping(text: str) -> dict[str, Any]:
    value = loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is needed, not {text[:40]!r}")
    return value


class DatabaseMessage(base.Message):
    """A claimed message; the exceptions of unreadable parts are in ``errors``.

    Its body is opened here, up to ``TASKQ_MAX_MESSAGE_SIZE``: kombu would open a compressed body whole.
    """

    def __init__(self, claimed: Claimed, channel: Channel, consumer_tag: str = "") -> None:
        self.errors: list[Any] = []
        properties, headers = self._read(_mapping, claimed.properties), self._read(_mapping, claimed.headers)
        super().__init__(  # type: ignore[no-untyped-call]
            body=self._read(_opened, claimed, headers, properties),
            channel=channel,
            delivery_tag=claimed.id,
            content_type=claimed.content_type or None,
            content_encoding=claimed.content_encoding or None,
            properties={name: value for name, value in properties.items() if name != "body_encoding"},
            delivery_info={
                "consumer_tag": consumer_tag,
                "exchange": claimed.exchange,
                "routing_key": claimed.routing_key,
                "redelivered": bool(claimed.redelivered),
                "priority": claimed.priority,
            },
            postencode="utf-8",
        )
        # Not before: with the header for the compression, the base class would open the body again.
        self.headers = headers

    def _read(self, read: Any, *args: Any) -> Any:
        try:
            return read(*args)
        except (ValueError, LookupError, RecursionError, KombuError, TaskqError):
            self.errors.append(sys.exc_info())
            return {}


__all__ = ["DatabaseMessage", "envelopes"]
