"""Checks that an encoded value will be decoded as the same value, and refuses other values.

kombu's JSON writes a date as ``{"__type__": "date", "__value__": "2040-01-01"}``: plain data of that form would be read
as a date, or not at all. msgpack and YAML write some values that they can't read, or read as another value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kombu.serialization import registry
from kombu.utils.json import loads

__all__ = ["TYPE_KEY", "check_json", "check_lossy", "is_marked"]

#: The key of kombu's other types. A text of JSON without it has JSON's own types only.
TYPE_KEY = '"__type__"'
_KEYS = {"__type__", "__value__"}
#: The serializers of kombu that can't read all values that they write.
_LOSSY = frozenset({"msgpack", "yaml"})


def check_json(value: Any, text: str) -> None:
    """Raise ``ValueError`` if ``text``, which is ``value`` as kombu's JSON, would not be read as ``value``."""
    if TYPE_KEY in text:
        if is_marked(value):
            raise ValueError(
                "a dictionary whose keys are '__type__' and '__value__' has another meaning in JSON: rename a key"
            )
        loads(text)  # this raises if an object's __json__, or a type that the project has registered, can't be read


def check_lossy(value: Any, payload: str | bytes, serializer: str) -> None:
    """Raise ``ValueError`` if ``payload``, made by kombu's serializer of that name, would not be read as ``value``."""
    if serializer not in _LOSSY:
        return
    content_type, encoding, _ = registry._encoders[serializer]
    try:
        found = registry.loads(payload, content_type, encoding, accept={content_type})
    except Exception as error:
        raise ValueError(f"{serializer} can't read what it has written: {error}") from error
    try:
        same = _same(value, found)
    except RecursionError:  # YAML writes a list that holds itself
        same = False
    if not same:
        raise ValueError(f"{serializer} would read it as another value")


def is_marked(value: Any) -> bool:
    """Tell whether ``value`` is or holds a dictionary that kombu's JSON reads as another type."""
    waiting, seen = [value], set()
    while waiting:
        each = waiting.pop()
        if not isinstance(each, dict | list | tuple) or id(each) in seen:
            continue
        seen.add(id(each))  # a list may hold itself
        if isinstance(each, dict):
            if len(each) == 2 and each.keys() == _KEYS:
                return True
            waiting.extend(each.values())
        else:
            waiting.extend(each)
    return False


def _same(value: Any, found: Any) -> bool:
    """Compare a value with what was read for it; a tuple is read as a list."""
    if isinstance(value, Mapping):
        return (
            isinstance(found, dict) and value.keys() == found.keys() and all(_same(value[k], found[k]) for k in found)
        )
    if isinstance(value, list | tuple):
        return isinstance(found, list | tuple) and len(value) == len(found) and all(map(_same, value, found))
    return bool(value == found) or (isinstance(value, float) and math.isnan(value) and found != found)
