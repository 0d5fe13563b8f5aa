"""Encodes values as bodies and decodes them, with kombu's serializers.

Bodies are text, as in the rows: a binary body is base64, with the property ``body_encoding``.
Only content types in ``TASKQ_ACCEPT_CONTENT`` are decoded.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from kombu import serialization
from kombu.exceptions import SerializerNotInstalled
from kombu.utils import json as kombu_json

from taskq.conf import settings
from taskq.containment import contained
from taskq.exceptions import ContentDisallowed, DecodeError, EncodeError, InvalidTaskError

from . import compression, round_trip

__all__ = [
    "BASE64",
    "BODY_ENCODING",
    "COMPRESSION",
    "JSON",
    "JSON_TYPE",
    "SerializerNotInstalled",
    "accepted_content",
    "argument_error",
    "check_accepted",
    "check_size",
    "compress",
    "decode",
    "decompress",
    "dumps_json",
    "encode",
    "is_plain_json",
    "sealed_part",
    "serializer_of",
    "to_base64",
    "to_bytes",
    "to_json",
    "to_text",
]

JSON = "json"
JSON_TYPE = "application/json"
#: The property for the encoding of a binary body as text, and its only value.
BODY_ENCODING = "body_encoding"
BASE64 = "base64"
#: kombu's header for the compression of a body.
COMPRESSION = "compression"

_TEXT_ENCODINGS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})

# kombu has no type hints for these.
_registry: Any = serialization.registry
_prepare_accept: Any = serialization.prepare_accept_content
#: Encodes a value as kombu's JSON: the text of its ``dumps``, without a new encoder for each value.
to_json: Callable[[Any], str] = kombu_json.JSONEncoder().encode
_accepted: frozenset[str] | None = None


def _forget(*, setting: str, **kwargs: object) -> None:
    global _accepted
    if setting == "TASKQ_ACCEPT_CONTENT":
        _accepted = None


setting_changed.connect(_forget, dispatch_uid="taskq.messages.serializers")


def accepted_content() -> frozenset[str]:
    """Return the content types that ``TASKQ_ACCEPT_CONTENT`` names."""
    global _accepted
    if _accepted is None:
        try:
            _accepted = frozenset(_prepare_accept(settings.ACCEPT_CONTENT) or ())
        except SerializerNotInstalled as exc:
            raise ImproperlyConfigured(f"TASKQ_ACCEPT_CONTENT: {exc}.") from exc
    return _accepted


def is_plain_json(serializer: str) -> bool:
    """Tell whether ``serializer`` is kombu's own JSON: its texts can be joined from parts."""
    if serializer != JSON:
        return False
    codec = _registry._encoders.get(JSON)
    return codec is not None and codec.encoder is kombu_json.dumps


def dumps_json(value: Any) -> str:
    """Return ``value`` as kombu's JSON: with datetimes, Decimals, UUIDs and bytes.

    Raises ``EncodeError``, also for a value that would not be read as it was written.
    """
    try:
        text = to_json(value)
        round_trip.check_json(value, text)
        return text
    except contained() as exc:  # TypeError, ValueError, RecursionError, or any error of the value's own code
        raise EncodeError(str(exc)) from exc


def encode(value: Any, serializer: str) -> tuple[str | bytes, str, str]:
    """Return ``value`` encoded, its content type and its content encoding. Raises ``EncodeError``."""
    try:
        content_type, encoding, payload = _registry.dumps(value, serializer)
    except SerializerNotInstalled as exc:
        raise EncodeError(
            f"The serializer {serializer!r} is not installed: see serializer= or TASKQ_SERIALIZER."
        ) from exc
    try:
        round_trip.check_lossy(value, payload, serializer)
    except ValueError as exc:
        raise EncodeError(str(exc)) from exc
    return payload, content_type, encoding


def serializer_of(content_type: str) -> str:
    """Return the name of the serializer that writes ``content_type``; ``EncodeError`` if there is none."""
    try:
        return str(_registry.type_to_name[content_type])
    except KeyError:
        raise EncodeError(f"No serializer is installed for the content type {content_type!r}.") from None


# -- between bytes and the text of a row ------------------------------------


def to_text(payload: str | bytes, encoding: str) -> tuple[str, str | None]:
    """Return ``payload`` as text, and the property ``body_encoding`` if the text is base64."""
    if isinstance(payload, str):
        return payload, None
    if encoding.lower() in _TEXT_ENCODINGS:
        try:
            return payload.decode("utf-8"), None
        except UnicodeDecodeError:
            pass
    return to_base64(payload), BASE64


def to_base64(payload: bytes) -> str:
    """Return ``payload`` as base64 text."""
    return base64.b64encode(payload).decode("ascii")


def to_bytes(body: str | bytes, properties: Mapping[str, Any]) -> bytes:
    """Return a body as bytes, the reverse of ``to_text``. Raises ``DecodeError``."""
    if isinstance(body, bytes):
        return body
    if properties.get(BODY_ENCODING) != BASE64:
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise DecodeError(f"The body says that it is base64 and is not: {exc}.") from exc


def compress(payload: str | bytes, method: str) -> tuple[bytes, str]:
    """Return ``payload`` compressed, and the value of the header ``compression``. Raises ``EncodeError``."""
    data = payload.encode() if isinstance(payload, str) else payload
    return compression.compress(data, method, bounded=settings.MAX_MESSAGE_SIZE is not None)


# -- reading ------------------------------------------------------------------


def sealed_part(body: str | bytes, properties: Mapping[str, Any]) -> str | bytes:
    """Return a body without base64, still compressed: the part that a signature covers. Raises ``DecodeError``.

    A body is not decompressed before its seal is verified. Raises ``InvalidTaskError`` if it is above
    ``TASKQ_MAX_MESSAGE_SIZE``.
    """
    check_size(body)
    return to_bytes(body, properties) if BODY_ENCODING in properties else body


def decompress(payload: str | bytes, headers: Mapping[str, Any], most: int | None = None) -> str | bytes:
    """Return ``payload`` without the compression that ``headers`` name, if they do. Raises ``DecodeError``.

    Raises ``InvalidTaskError`` if there are more than ``most`` bytes, or than ``TASKQ_MAX_MESSAGE_SIZE``: decompression
    stops there.
    """
    method = headers.get(COMPRESSION)
    limit = min((limit for limit in (most, settings.MAX_MESSAGE_SIZE) if limit is not None), default=None)
    if method:
        compressed = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
        payload = compression.decompress(compressed, method, limit)
    check_size(payload, limit)
    return payload


def check_size(body: str | bytes, limit: int | None = None) -> None:
    """Raise ``InvalidTaskError`` for a body of more than ``limit`` bytes; by default ``TASKQ_MAX_MESSAGE_SIZE``."""
    allowed = settings.MAX_MESSAGE_SIZE
    if limit is None:
        limit = allowed
    if limit is None:
        return
    plain = type(body) is bytes or body.isascii()
    size = len(body) if plain else len(body.encode("utf-8", "surrogatepass"))  # type: ignore[union-attr]
    if size > limit:
        name = "TASKQ_MAX_MESSAGE_SIZE" if limit == allowed else "the most that is opened outside a task's process"
        raise InvalidTaskError(f"A body of more than {limit} bytes is above {name}.")


def check_accepted(content_type: str) -> None:
    """Raise ``ContentDisallowed`` for a type that ``TASKQ_ACCEPT_CONTENT`` does not name."""
    if content_type not in accepted_content():
        raise ContentDisallowed(
            f"A message of the type {content_type!r} is refused: TASKQ_ACCEPT_CONTENT does not name it."
        )


def decode(payload: str | bytes, content_type: str, encoding: str = "utf-8") -> Any:
    """Return the value of ``payload``. Raises ``ContentDisallowed``, and ``DecodeError`` for a malformed payload."""
    check_accepted(content_type)
    if not payload:
        raise DecodeError("The body is empty.")
    if (
        content_type == JSON_TYPE
        and isinstance(payload, str)
        and round_trip.TYPE_KEY not in payload
        and is_plain_json(JSON)
    ):
        # Only JSON's own types: kombu's decoding of other types takes most of its time.
        try:
            return json.loads(payload)
        except (ValueError, RecursionError) as exc:
            raise DecodeError(str(exc)) from exc
    return _registry.loads(payload, content_type, encoding, accept=accepted_content())


# -- errors that name the argument ----------------------------------------------


def argument_error(
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    embed: Mapping[str, Any] | None,
    serializer: str,
    error: Exception,
    positions: Mapping[str, int] | None = None,
) -> EncodeError:
    """Return the ``EncodeError`` that names the argument of ``task`` that ``serializer`` can't encode.

    ``embed`` are the task's follow-ups; ``positions`` gives the position of each parameter.
    """
    names = {position: name for name, position in (positions or {}).items()}
    arguments = [(repr(names[i]) if i in names else str(i + 1), value) for i, value in enumerate(args)]
    arguments += [(repr(name), value) for name, value in kwargs.items()]
    for label, value in arguments:
        if not _encodes(value, serializer):
            culprit = _culprit(value, serializer)
            verb = "is" if culprit is value else "contains"
            return EncodeError(f"argument {label} of {task} {verb} {_advice(culprit)}")
    if embed is not None and not _encodes(dict(embed), serializer):
        return EncodeError(f"the follow-ups of {task} (link, link_error, chain or chord) can't be encoded: {error}")
    return EncodeError(f"the arguments of {task} can't be encoded as {serializer}: {error}")


def _encodes(value: Any, serializer: str) -> bool:
    try:
        if is_plain_json(serializer):
            dumps_json([value])
        else:
            encode([value], serializer)
    except Exception:
        return False
    return True


def _culprit(value: Any, serializer: str) -> Any:
    """Return the innermost value inside ``value`` that can't be encoded."""
    for _ in range(20):  # a limit for values that contain themselves
        if isinstance(value, Mapping):
            inside: list[Any] = list(value.values())
        elif isinstance(value, list | tuple):
            inside = list(value)
        else:
            break
        for item in inside:
            if not _encodes(item, serializer):
                value = item
                break
        else:
            break
    return value


def _advice(value: Any) -> str:
    """Return what ``value`` is, and what to pass instead: "an Order instance: pass its primary key"."""
    from django.db.models import Manager, Model, QuerySet

    name = type(value).__name__
    article = "an" if name[:1].lower() in "aeio" else "a"
    if isinstance(value, Model):
        return f"{article} {name} instance: pass its primary key"
    if isinstance(value, QuerySet | Manager):
        return f"{article} {name}: pass a list of primary keys"
    if isinstance(value, set | frozenset):
        return f"a {name}: pass a list"
    if callable(getattr(value, "total_seconds", None)):
        return f"a {name}: pass a number of seconds"
    if round_trip.is_marked(value):
        return f"a {name} with the keys '__type__' and '__value__', which have another meaning in JSON: rename a key"
    if isinstance(value, Mapping | list | tuple):
        return f"a {name} that holds itself, is nested too deeply or has keys that are not text"
    return f"{article} {name}, which can't be encoded: pass plain data, such as numbers, text, lists and dictionaries"
