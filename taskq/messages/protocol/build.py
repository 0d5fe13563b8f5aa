"""``build`` makes an ``Envelope`` of options and arguments: the hot path of sending. It sends nothing."""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Unpack, cast

from taskq import clock
from taskq.conf import settings
from taskq.exceptions import EncodeError, InvalidTaskError
from taskq.ids import new_id
from taskq.messages import arguments, reprs, serializers
from taskq.records import Envelope

from .options import (
    MessageOptions,
    check_arguments,
    check_headers,
    check_limits,
    check_name,
    check_priority,
    check_stamps,
    check_whole,
    due,
    expiration,
    expiry,
    plain,
)
from .wire import EMBED, HEADERS, PROPERTIES, Args

_TEMPLATE: dict[str, Any] = dict.fromkeys(HEADERS) | {
    "lang": "py",
    "retries": 0,
    "kwargsrepr": "{}",
    "ignore_result": False,
    "replaced_task_nesting": 0,
}
_EMPTY_EMBED: dict[str, Any] = dict.fromkeys(EMBED)
_EMPTY_EMBED_JSON = json.dumps(_EMPTY_EMBED)


_KNOWN = frozenset(MessageOptions.__annotations__)
_EMBEDDED = frozenset(EMBED)
# Options that few calls have; each sets several headers, or a header and a field of the envelope.
_SELDOM = frozenset({"argsrepr", "kwargsrepr", "time_limit", "soft_time_limit", "countdown", "eta"})
# Options that become headers unchanged, as (option, header). For a false value the header keeps the template's value.
_AS_GIVEN = (("shadow", "shadow"), ("origin", "origin"), ("ignore_result", "ignore_result"))
# Options that become headers and are checked first, because workers would refuse the header: (option, header, check).
_CHECKED: tuple[tuple[str, str, Callable[[str, Any], Any]], ...] = (
    ("group_id", "group", check_name),
    ("parent_id", "parent_id", check_name),
    ("root_id", "root_id", check_name),
    ("retries", "retries", check_whole),
    ("replaced_task_nesting", "replaced_task_nesting", check_whole),
)

# -- who sends -----------------------------------------------------------------

_local = threading.local()
_origin = ""


def _forget_sender() -> None:
    global _origin
    _origin = ""
    _local.__dict__.clear()


os.register_at_fork(after_in_child=_forget_sender)


def origin() -> str:
    """Return the header ``origin`` of this process: ``gen<pid>@<host>``."""
    global _origin
    if not _origin:
        _origin = f"gen{os.getpid()}@{socket.gethostname()}"
    return _origin


def reply_queue() -> str:
    """Return this thread's value of ``reply_to``, a UUID: Celery's ``rpc`` backend would send results to it."""
    try:
        oid: str = _local.oid
    except AttributeError:
        oid = _local.oid = str(uuid.uuid4())
    return oid


# -- building --------------------------------------------------------------------


def build(
    *,
    name: str,
    queue: str,
    args: Args = (),
    kwargs: Mapping[str, Any] | None = None,
    task_id: str | None = None,
    **options: Unpack[MessageOptions],
) -> Envelope:
    """Return the message that runs the task ``name`` with these arguments.

    Raises ``TypeError`` and ``ValueError`` for invalid options, and ``EncodeError`` with the
    name of an argument that can't be encoded.
    """
    given = cast("dict[str, Any]", options)
    if given and not given.keys() <= _KNOWN:
        raise TypeError(f"Unknown options of a message: {', '.join(sorted(given.keys() - _KNOWN))}.")
    if kwargs is None:
        kwargs = {}
    check_arguments(args, kwargs)
    get = given.get
    queue, exchange, reset = plain(queue), plain(get("exchange")) or "", get("reset")
    envelope = Envelope(
        new_id() if task_id is None else check_name("task_id", task_id),
        check_name("name", name),
        queue,
        _TEMPLATE.copy(),
        "",
        exchange=exchange,
        routing_key=plain(get("routing_key")) or ("" if exchange else queue),
        reset=task_id is not None if reset is None else reset,
    )
    shown = get("shown")
    _fill_headers(envelope, shown or (args, kwargs), given)
    _fill_properties(envelope, given)
    put_body(
        envelope, args, kwargs, _embed(given), get("serializer"), get("compression"), get("positions"), get("encoded")
    )
    if shown:
        envelope.arguments = arguments.to_text(*shown, masked=True)
    return envelope


def _fill_headers(envelope: Envelope, shown: tuple[Args, Mapping[str, Any]], given: Mapping[str, Any]) -> None:
    headers = envelope.headers
    headers["task"] = envelope.name
    headers["id"] = headers["root_id"] = envelope.task_id
    headers["timelimit"] = [None, None]
    headers["origin"] = _origin or origin()
    headers["stamps"] = {}
    put_reprs(headers, *shown)
    if given:
        _fill_options(envelope, given)


def _fill_options(envelope: Envelope, given: Mapping[str, Any]) -> None:
    headers, get = envelope.headers, given.get
    for option, header in _AS_GIVEN:
        if value := get(option):
            headers[header] = plain(value)
    for option, header, checked in _CHECKED:
        if value := get(option):
            headers[header] = checked(option, value)
    if (index := get("group_index")) is not None:
        headers["group_index"] = check_whole("group_index", index)
    if not _SELDOM.isdisjoint(given):
        put_given_reprs(headers, given)
        put_limits(headers, get("time_limit"), get("soft_time_limit"))
        put_due(envelope, get("countdown"), get("eta"))
    if (expires := get("expires")) is not None:
        put_expiry(envelope, expires)
    if (names := get("stamped_headers")) is not None:
        headers["stamped_headers"] = [plain(name) for name in names]
    if stamps := get("stamps"):
        headers["stamps"] = check_stamps(stamps)
    if own := get("headers"):
        headers.update(check_headers(own))


def put_reprs(headers: dict[str, Any], args: Args, kwargs: Mapping[str, Any]) -> None:
    """Set the headers ``argsrepr`` and ``kwargsrepr`` from the (masked) arguments."""
    headers["argsrepr"] = reprs.args_repr(args)
    headers["kwargsrepr"] = reprs.kwargs_repr(kwargs)


def put_given_reprs(headers: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Set the headers ``argsrepr`` and ``kwargsrepr`` that the caller gave."""
    for option in ("argsrepr", "kwargsrepr"):
        if (text := given.get(option)) is not None:
            if not isinstance(text, str):
                raise TypeError(f"{option} must be a string, not {text!r:.200}.")
            headers[option] = plain(text)[: reprs.LIMIT]


def put_limits(headers: dict[str, Any], hard: float | None, soft: float | None) -> None:
    """Set the time limits (seconds) that are given."""
    if hard is not None or soft is not None:
        check_limits(hard, soft)
        old_hard, old_soft = headers["timelimit"]
        limits = [old_hard if hard is None else hard, old_soft if soft is None else soft]
        headers["timelimit"] = [plain(limit) for limit in limits]


def put_due(envelope: Envelope, countdown: float | timedelta | None, eta: datetime | str | None) -> None:
    """Set the time when the message is due."""
    if countdown is not None or eta is not None:
        envelope.headers["eta"], envelope.delay, moment = due(countdown, eta)
        envelope.eta = None if moment is None else moment.timestamp()


def put_expiry(envelope: Envelope, expires: float | timedelta | datetime | str) -> None:
    """Set the time when the message expires; ``_fill_properties`` sets the property."""
    until, envelope.expires_in = expiry(expires)
    envelope.headers["expires"] = until.isoformat()
    envelope.expires = until.timestamp()


def _fill_properties(envelope: Envelope, given: Mapping[str, Any]) -> None:
    priority = given.get("priority")
    envelope.priority = settings.DEFAULT_PRIORITY if priority is None else check_priority(priority)
    put_properties(envelope, plain(given.get("reply_to")) or reply_queue(), priority is not None)
    if not given.keys().isdisjoint(PROPERTIES):
        put_given_properties(envelope, given)


def put_given_properties(envelope: Envelope, given: Mapping[str, Any]) -> None:
    """Set the properties that only other programs read."""
    for name in PROPERTIES & given.keys():
        if (text := given[name]) is not None:
            envelope.properties[name] = check_name(name, text)


def put_properties(envelope: Envelope, reply_to: str, always_priority: bool) -> None:
    """Set the properties; a priority of 0 is sent only with ``always_priority``."""
    properties = envelope.properties = {
        "correlation_id": envelope.task_id,
        "reply_to": reply_to,
        "delivery_mode": 2,
    }
    if envelope.expires_in is not None:
        ttl = expiration(envelope.expires_in, 0.0)
    else:
        ttl = None if envelope.expires is None else expiration(envelope.expires, clock.now())
    if ttl:
        properties["expiration"] = ttl
    if always_priority or envelope.priority:
        properties["priority"] = envelope.priority


# -- the body ------------------------------------------------------------------------


def _embed(given: Mapping[str, Any]) -> dict[str, Any] | None:
    if _EMBEDDED.isdisjoint(given):
        return None
    embed = {name: given.get(name) for name in EMBED}
    return embed if any(embed.values()) else None


def put_body(
    envelope: Envelope,
    args: Args,
    kwargs: Mapping[str, Any],
    embed: Mapping[str, Any] | None,
    serializer: str | None = None,
    compression: str | None = None,
    positions: Mapping[str, int] | None = None,
    encoded: str | None = None,
) -> None:
    """Encode the arguments into ``envelope``: body, content type and ``arguments``. ``encoded`` is their JSON."""
    serializer = serializer or settings.SERIALIZER
    kwargs = kwargs if type(kwargs) is dict else dict(kwargs)
    try:
        if serializers.is_plain_json(serializer):
            payload: str | bytes = _json_body(envelope, args, kwargs, embed, encoded)
        else:
            payload = _other_body(envelope, args, kwargs, embed, serializer)
    except EncodeError as exc:
        if isinstance(exc.__cause__, serializers.SerializerNotInstalled):
            raise
        raise serializers.argument_error(envelope.name, args, kwargs, embed, serializer, exc, positions) from exc
    put_payload(envelope, payload, compression or settings.COMPRESSION)


def _json_body(envelope: Envelope, args: Args, kwargs: dict[str, Any], embed: Any, encoded: str | None) -> str:
    """Encode the arguments once, for the row and for the body."""
    text = envelope.arguments = encoded or serializers.dumps_json([args, kwargs])
    envelope.content_type, envelope.content_encoding = serializers.JSON_TYPE, "utf-8"
    return f"{text[:-1]}, {_EMPTY_EMBED_JSON if embed is None else serializers.dumps_json(embed)}]"


def _other_body(envelope: Envelope, args: Args, kwargs: dict[str, Any], embed: Any, serializer: str) -> str | bytes:
    whole = (args, kwargs, dict(embed or _EMPTY_EMBED))
    payload, envelope.content_type, envelope.content_encoding = serializers.encode(whole, serializer)
    envelope.arguments = arguments.to_text(args, kwargs, serializer)
    return payload


def put_payload(envelope: Envelope, payload: str | bytes, compression: str | None) -> None:
    """Compress ``payload``, and write it into ``envelope``. Raises ``ValueError`` if it is too large."""
    if compression:
        _check_size(envelope, payload)
        payload, envelope.headers[serializers.COMPRESSION] = serializers.compress(payload, compression)
    if type(payload) is str:
        envelope.body = payload
    elif compression:
        envelope.body = serializers.to_base64(payload)  # type: ignore[arg-type]
        envelope.properties[serializers.BODY_ENCODING] = serializers.BASE64
    else:
        envelope.body, body_encoding = serializers.to_text(payload, envelope.content_encoding)
        if body_encoding:
            envelope.properties[serializers.BODY_ENCODING] = body_encoding
    _check_size(envelope, envelope.body)


def _check_size(envelope: Envelope, body: str | bytes) -> None:
    """Raise ``ValueError`` if ``body``, compressed or not, is larger than workers accept."""
    most = settings.MAX_MESSAGE_SIZE
    if most is None or len(body) * 4 <= most:  # a character has at most 4 bytes
        return
    try:
        serializers.check_size(body)
    except InvalidTaskError:
        raise ValueError(
            f"The message for {envelope.name} has {len(body)} bytes, above TASKQ_MAX_MESSAGE_SIZE "
            f"({most}): store the data and pass its key."
        ) from None
