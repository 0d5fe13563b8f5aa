"""Short texts of a task's arguments, for logs, events and monitors. Called by ``protocol`` for each message.

Reads no more of an argument than it shows, and raises no error of an argument's ``__repr__``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskq.containment import contained

#: Longest ``argsrepr`` and ``kwargsrepr``, in characters. Source: Celery's protocol 2.
LIMIT = 1024
#: Replaces a sensitive value: see ``calls.masking``.
MASK = "********"

_PLAIN = frozenset({int, float, bool, type(None)})
_BRACKETS: dict[Any, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
_DEPTH = 20
_CONTAINERS = (list, tuple, set, frozenset, Mapping)


def args_repr(args: list[Any] | tuple[Any, ...]) -> str:
    """Return ``repr(args)``, cut to ``LIMIT`` characters."""
    if len(args) < 20 and all(type(arg) in _PLAIN or (type(arg) is str and len(arg) < 200) for arg in args):
        return _cut(_repr(args))
    return short_repr(args)


def kwargs_repr(kwargs: Mapping[str, Any]) -> str:
    """Return the repr of ``kwargs`` as a dictionary, cut to ``LIMIT`` characters."""
    return short_repr(dict(kwargs)) if kwargs else "{}"


def repr_for_error(value: Any) -> str:
    """Return the repr of ``value``, of a container only its type: it may hold sensitive arguments."""
    return type(value).__name__ if isinstance(value, _CONTAINERS) else short_repr(value, 200)


def short_repr(value: Any, limit: int = LIMIT) -> str:
    """Return ``repr(value)``, cut to ``limit`` characters, without reading the part that is cut off."""
    parts: list[str] = []
    _write(value, parts, limit, _DEPTH)
    return _cut("".join(parts), limit)


def _cut(text: str, limit: int = LIMIT) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _repr(value: Any) -> str:
    try:
        text = repr(value)
        return text if type(text) is str else "".join((text,))  # a subclass may have its own len() or slices
    except contained() as exc:  # a __repr__ may raise any error
        return f"<{type(value).__name__} whose repr raised {type(exc).__name__}>"


def _write(value: Any, parts: list[str], room: int, depth: int) -> int:
    """Append the repr of ``value`` in pieces; return the number of characters left (below 0: full)."""
    kind = type(value)
    if kind is str or kind is bytes:
        text = repr(value[: room + 1])
    elif kind in _BRACKETS and value and depth:
        return _write_items(value, parts, room, depth)
    elif kind is dict and value and depth:
        return _write_mapping(value, parts, room, depth)
    elif (kind in _BRACKETS or kind is dict) and value:
        text = "..."
    else:
        text = _repr(value)
    parts.append(text)
    return room - len(text)


def _write_items(value: Any, parts: list[str], room: int, depth: int) -> int:
    opening, closing = _BRACKETS[type(value)]
    if closing == ")" and len(value) == 1:
        closing = ",)"
    parts.append(opening)
    separator = ""
    for item in value:
        parts.append(separator)
        room = _write(item, parts, room - len(separator), depth - 1)
        if room < 0:
            return room
        separator = ", "
    parts.append(closing)
    return room - len(opening) - len(closing)


def _write_mapping(value: dict[Any, Any], parts: list[str], room: int, depth: int) -> int:
    parts.append("{")
    separator = ""
    for key, item in value.items():
        parts.append(separator)
        room = _write(key, parts, room - len(separator) - 2, depth - 1)
        parts.append(": ")
        room = _write(item, parts, room, depth - 1)
        if room < 0:
            return room
        separator = ", "
    parts.append("}")
    return room - 2
