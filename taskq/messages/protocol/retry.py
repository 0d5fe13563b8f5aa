"""Makes the message of a retry. Called where the task runs: a retry is part of its ``Outcome``.

Options that the retry does not change stay as they were received, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from taskq.messages import arguments, serializers
from taskq.records import Envelope

from .build import put_body, put_due, put_expiry, put_given_reprs, put_limits, put_properties, put_reprs
from .options import (
    RETRY_OPTIONS,
    MessageOptions,
    check_arguments,
    check_headers,
    check_limit_order,
    check_priority,
    plain,
)
from .read import decode_message, read_headers
from .wire import PROPERTIES, Args, RawMessage, ReceivedMessage, is_of_delivery, mapping_of

_NEW_BODY = ("args", "kwargs", "serializer", "compression")


def retry_envelope(
    message: ReceivedMessage,
    *,
    args: Args | None = None,
    kwargs: Mapping[str, Any] | None = None,
    queue: str | None = None,
    **options: Unpack[MessageOptions],
) -> Envelope:
    """Return the message that runs the task of ``message`` again, with ``retries`` one higher.

    It keeps the id, workflow, follow-ups, headers, stamps, limits, priority and expiry, and goes back to the queue of
    ``message``. ``RETRY_OPTIONS`` may change; ``None`` changes nothing. Raises the errors of ``build`` for options.
    """
    if not options.keys() <= RETRY_OPTIONS:
        raise TypeError(f"Unknown options of a retry: {', '.join(sorted(options.keys() - RETRY_OPTIONS))}.")
    given: dict[str, Any] = {**options, "args": args, "kwargs": kwargs, "queue": queue}
    envelope = _copy(message, given)
    headers = envelope.headers
    headers["retries"] = (headers.get("retries") or 0) + 1
    headers["eta"] = None
    headers.setdefault("timelimit", [None, None])
    check_limit_order(envelope.name, given.get("time_limit"), given.get("soft_time_limit"))
    put_limits(headers, given.get("time_limit"), given.get("soft_time_limit"))
    put_due(envelope, given.get("countdown"), given.get("eta"))
    for option in ("shadow", "ignore_result"):
        if given.get(option) is not None:
            headers[option] = plain(given[option])
    if own := given.get("headers"):
        headers.update(check_headers(own))
    old = mapping_of(message.properties)
    put_properties(envelope, old.get("reply_to") or "", "priority" in old)
    envelope.properties |= {name: old[name] for name in PROPERTIES & old.keys()}
    if any(given.get(option) is not None for option in _NEW_BODY):
        _encode_again(envelope, message, given)
    else:
        _keep_body(envelope, message, old)
    put_given_reprs(headers, given)
    return envelope


def _copy(message: ReceivedMessage, given: Mapping[str, Any]) -> Envelope:
    """Return a copy of ``message`` without its body and without the headers of its delivery."""
    raw = mapping_of(message.headers)
    checked = read_headers(raw)
    queue, exchange, routing_key = (plain(given.get(name)) for name in ("queue", "exchange", "routing_key"))
    if not (queue or exchange):
        exchange, routing_key = message.exchange, routing_key or message.routing_key
        queue = "" if exchange else routing_key
    priority = given.get("priority")
    envelope = Envelope(
        checked.id,
        checked.task,
        queue or "",
        {name: value for name, value in raw.items() if not is_of_delivery(name)},
        "",
        message.content_type,
        message.content_encoding,
        exchange or "",
        routing_key or ("" if exchange else queue or ""),
        message.priority if priority is None else check_priority(priority),
        expires=None if checked.expires is None else checked.expires.timestamp(),
        expires_in=message.expires_in,
    )
    if (expires := given.get("expires")) is not None:
        put_expiry(envelope, expires)
    return envelope


def _keep_body(envelope: Envelope, message: RawMessage, old: Mapping[str, Any]) -> None:
    envelope.body = message.body
    if serializers.BODY_ENCODING in old:
        envelope.properties[serializers.BODY_ENCODING] = old[serializers.BODY_ENCODING]


def _encode_again(envelope: Envelope, message: RawMessage, given: Mapping[str, Any]) -> None:
    get, headers = given.get, envelope.headers
    old_args, old_kwargs, embed = decode_message(message, mapping_of(message.headers))
    args: Any = old_args if get("args") is None else get("args")
    kwargs: Any = old_kwargs if get("kwargs") is None else get("kwargs")
    check_arguments(args, kwargs)
    compression = get("compression") or headers.pop(serializers.COMPRESSION, None)
    serializer = get("serializer") or serializers.serializer_of(message.content_type)
    put_body(envelope, args, kwargs, embed, serializer, compression, get("positions"))
    shown = get("shown")
    put_reprs(headers, *(shown or (args, kwargs)))
    if shown:
        envelope.arguments = arguments.to_text(*shown, masked=True)
