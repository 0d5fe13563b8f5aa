"""Fingerprints of failures: which of them are alike, by the task, the class of the exception, and its message.

Pure functions over the text of an exception (``exception_data``). No class is looked up but taskq's own.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any, NamedTuple

from taskq.exceptions import from_wire

#: Characters that are kept of the class of an exception, and of its message.
LONGEST_CLASS, LONGEST_MESSAGE = 255, 500
# A quotation mark within a word is an apostrophe.
_VARIES = re.compile(
    r"""(?<!\w)'[^'\n]*'(?!\w) | "[^"\n]*" | `[^`\n]*`
    | \b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b
    | \b0x[0-9a-f]+\b
    | \b(?=[a-f]*[0-9])[0-9a-f]{6,}\b
    | \d+(?:[.,:]\d+)*""",
    re.VERBOSE | re.IGNORECASE,
)
_BLANKS = re.compile(r"\s+")


class Described(NamedTuple):
    """An exception as lists show it: its dotted class, without a module if it is built in, and its message."""

    exception: str
    message: str


def described(text: str | None) -> Described:
    """Return the class and the message of an exception that is stored as data; never raises.

    Both are cut, and hold no character that a database refuses. Of a text that is no exception the start is the
    message.
    """
    try:
        data = json.loads(text or "null")
    except (ValueError, RecursionError):
        data = None
    match data:
        case {"exc_type": str() as name, **rest}:
            module, arguments = rest.get("exc_module"), rest.get("exc_message")
            return Described(_plain(_class(module, name), LONGEST_CLASS), _plain(_said(module, name, arguments)))
    return Described("", _plain(text or ""))


def fingerprint(name: str, found: Described) -> str:
    """Return the same 16 characters for failures of a task that are alike.

    >>> one = fingerprint("shop.mail", Described("KeyError", "no order 17 for 'ann'"))
    >>> one == fingerprint("shop.mail", Described("KeyError", "no order 4711 for 'bob'"))
    True
    """
    parts = (name, found.exception, masked(found.message))
    return blake2b("\0".join(parts).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def other(name: str) -> str:
    """Return the key of the failures of a task whose own keys were too many (``store.error_keys``).

    >>> other("shop.mail") == other("shop.mail") != other("shop.pay")
    True
    """
    # No message has a NUL: ``_plain`` leaves none.
    return fingerprint(name, Described("", "\0other"))


def masked(message: str) -> str:
    """Return a message without what differs from failure to failure: numbers, ids, and quoted texts.

    >>> masked("Order 17 of 'ann' isn't paid: 3.50 EUR")
    "Order * of * isn't paid: * EUR"
    """
    return _BLANKS.sub(" ", _VARIES.sub("*", message)).strip()


def _class(module: Any, name: str) -> str:
    if not isinstance(module, str) or module == "builtins":
        return name
    own = from_wire(module, name)
    return f"{module if own is None else own.__module__}.{name}"


def _said(module: Any, name: str, arguments: Any) -> str:
    own = from_wire(module, name) if isinstance(module, str) else None
    if own is not None and isinstance(arguments, list):
        try:
            return str(own(*arguments))
        except Exception:  # the arguments are not those of the class
            pass
    parts = arguments if isinstance(arguments, list) else [] if arguments is None else [arguments]
    return ", ".join(part if isinstance(part, str) else _json(part) for part in parts)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"


def _plain(text: str, longest: int = LONGEST_MESSAGE) -> str:
    # PostgreSQL takes no NUL, and no database half a surrogate pair.
    return text[:longest].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()[:longest]
