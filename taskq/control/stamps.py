"""Which messages a command means: by their stamps, and by the names of their tasks. Pure.

Stamps are headers, ``{"stamps": {key: [value, ...]}}``; a sender may have written anything there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

#: Values by key.
Stamps = Mapping[str, frozenset[str]]
#: The most keys that one statement looks for, and the most characters of one.
_MOST_KEYS, _LONGEST_KEY = 100, 255


def wanted(headers: Any) -> Stamps:
    """Return the stamps of a command: ``{"key": value}``, ``{"key": [value, ...]}`` or ``["key=value", ...]``."""
    headers = by_key(headers)
    if not isinstance(headers, Mapping) or not headers:
        raise ValueError("headers have to be given as key=value")
    if len(headers) > _MOST_KEYS or any(len(str(key)) > _LONGEST_KEY for key in headers):
        raise ValueError(
            f"at most {_MOST_KEYS} headers of at most {_LONGEST_KEY} characters can be searched for at once"
        )
    return {str(key): frozenset(map(str, _values(value))) for key, value in headers.items()}


def by_key(headers: Any) -> Any:
    """Return the headers of a command as a mapping, which programs give as ``["key=value", ...]``; else as they are."""
    if not isinstance(headers, list | tuple):
        return headers
    found: dict[str, Any] = {}
    for key, value in (text.partition("=")[::2] for text in headers if isinstance(text, str) and "=" in text):
        found[key] = [*_values(found[key]), value] if key in found else value
    return found


def written(wanted: Stamps) -> list[str]:
    """Return the keys as they stand in a message's headers: JSON escapes quotes, and may escape other characters."""
    return sorted({json.dumps(key, ensure_ascii=ascii)[1:-1] for key in wanted for ascii in (True, False)})


def match(headers: Mapping[str, Any], wanted: Stamps) -> bool:
    """Tell whether a message with these headers has one of the stamps."""
    stamps = headers.get("stamps")
    if not isinstance(stamps, Mapping):
        return False
    return any(not values.isdisjoint(map(str, _values(stamps.get(key)))) for key, values in wanted.items())


def match_text(headers: str, wanted: Stamps) -> bool:
    """Tell whether a message with these headers, as its row has them, has one of the stamps."""
    try:
        found = json.loads(headers)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and match(found, wanted)


def name_matches(name: str, pattern: str) -> bool:
    """Tell whether the name of a task matches a pattern with ``*``, ``?`` and ``[...]``."""
    return fnmatchcase(name, pattern)


def _values(value: Any) -> list[Any]:
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    return [] if value is None else [value]
