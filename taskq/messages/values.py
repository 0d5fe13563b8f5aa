"""The return values of tasks as text in a row: ``execution`` encodes them, ``AsyncResult`` and the admin decode them.

The output of a binary serializer is base64, with a mark in the content type. Exceptions: see ``exception_data``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from kombu.exceptions import DecodeError
from kombu.serialization import prepare_accept_content, registry
from kombu.utils.json import loads

from taskq.conf import settings
from taskq.containment import contained
from taskq.exceptions import EncodeError, SignatureMismatch

from . import round_trip
from .exception_data import decode_exception, encode_exception
from .reprs import short_repr
from .serializers import JSON_TYPE, to_json
from .signing import plain_type

__all__ = [
    "ALTERED",
    "check_result_size",
    "decode",
    "decode_children",
    "decode_exception",
    "encode",
    "encode_children",
    "encode_exception",
    "with_children",
]

_BASE64 = ";base64"
#: The content type of a value that was altered in its row.
ALTERED = "application/x-taskq-altered"


def encode(value: Any, serializer: str | None = None, what: str = "the return value") -> tuple[str, str]:
    """Return ``value`` as text, and its content type. Raises ``EncodeError``, which calls the value ``what``.

    ``serializer`` is a name in kombu's registry; the default is ``TASKQ_RESULT_SERIALIZER``.
    """
    name = serializer or settings.RESULT_SERIALIZER
    try:
        if name == "json":
            text = to_json(value)
            round_trip.check_json(value, text)
            return text, JSON_TYPE
        return _encode_by_kombu(value, name)
    except contained() as error:
        raise EncodeError(_refusal(value, what, name, error)) from error


def check_result_size(text: str, what: str = "the return value") -> None:
    """Raise ``EncodeError`` for the text of a value above ``TASKQ_MAX_RESULT_SIZE``."""
    most = settings.MAX_RESULT_SIZE
    # A character has four bytes at most.
    if most is None or 4 * len(text) <= most or (size := _bytes_of(text)) <= most:
        return
    raise EncodeError(
        f"{what} has {size} bytes, above TASKQ_MAX_RESULT_SIZE ({most}): store large data, and return its key."
    )


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def decode(text: str | None, content_type: str = JSON_TYPE) -> Any:
    """Return the value of an encoded ``text``, ``None`` for ``None``.

    Raises ``DecodeError`` for broken text, ``SignatureMismatch`` for the content type ``ALTERED``, and
    ``ContentDisallowed`` unless ``TASKQ_ACCEPT_CONTENT`` or ``TASKQ_RESULT_SERIALIZER`` names the type.
    """
    if content_type == ALTERED:
        raise SignatureMismatch(
            "The stored result was altered, or is not sealed by SECRET_KEY or a key in SECRET_KEY_FALLBACKS, "
            "and TASKQ_SIGNING is on."
        )
    if text is None:
        return None
    if content_type == JSON_TYPE:
        return _from_json(text)
    content_type = plain_type(content_type)
    if content_type == JSON_TYPE:
        return _from_json(text)
    plain, binary, _ = content_type.partition(_BASE64)
    payload = base64.b64decode(text) if binary else text
    encoding = "binary" if binary else "utf-8"
    return registry.loads(payload, plain, encoding, accept=_accepted())


def encode_children(results: Iterable[Any]) -> str | None:
    """Return the results of a task's children as text, ``None`` for no results."""
    tuples = [result.__json__() for result in results]
    return json.dumps(tuples) if tuples else None


def with_children(text: str | None, tuples: Iterable[Any]) -> str | None:
    """Return the text of ``encode_children`` with more result tuples."""
    found = [*decode_children(text), *tuples]
    return json.dumps(found) if found else None


def decode_children(text: str | None) -> list[Any]:
    """Return the result tuples that ``encode_children`` wrote."""
    return cast("list[Any]", json.loads(text)) if text else []


def _encode_by_kombu(value: Any, serializer: str) -> tuple[str, str]:
    if serializer != "pickle" and callable(getattr(type(value), "__json__", None)):
        value = value.__json__()  # a result; kombu's JSON asks any object that has it
    content_type, _, payload = registry.dumps(value, serializer)
    round_trip.check_lossy(value, payload, serializer)
    if isinstance(payload, str):
        return payload, content_type
    return base64.b64encode(payload).decode("ascii"), content_type + _BASE64


def _from_json(text: str) -> Any:
    try:
        return loads(text)
    except RecursionError:  # a fresh thread has as much room on its stack as the process that wrote the value
        with ThreadPoolExecutor(1) as fresh:
            return fresh.submit(loads, text).result()
    except Exception as error:  # each type of kombu's has errors of its own
        raise DecodeError(f"The stored result is not valid JSON: {error}") from error


def _accepted() -> set[str]:
    named = [*settings.ACCEPT_CONTENT, settings.RESULT_SERIALIZER]
    return cast("set[str]", prepare_accept_content(named))


def _refusal(value: Any, what: str, serializer: str, error: BaseException) -> str:
    """Return the error text: the reason, and the setting to change."""
    return (
        f"{short_repr(error)}: {what}, of type {type(value).__qualname__}, can't be stored with the serializer "
        f"'{serializer}'. Use plain data (of a model instance its primary key), or change TASKQ_RESULT_SERIALIZER."
    )
