"""Fingerprints of failures. Failures are alike if task, class of exception and message are, whatever its numbers are.

Pure functions over the text of an exception (``exception_data``). Only taskq's own exceptions are built again.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any, NamedTuple

from taskq.exceptions import from_wire

#: The most characters of the class of an exception, and of its message.
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


class ErrorSummary(NamedTuple):
    """An exception as lists show it: its dotted class, without a module if it is built in, and its message."""

    exception: str
    message: str


def summary(text: str | None) -> ErrorSummary:
    """Return the class and the message of an exception that is stored as data; never raises.

    Both are cut, and hold no character that a database refuses. If ``text`` is no exception, its start is the message.
    """
    try:
        data = json.loads(text or "null")
    except (ValueError, RecursionError):
        data = None
    match data:
        case {"exc_type": str() as name, **rest}:
            module, arguments = rest.get("exc_module"), rest.get("exc_message")
            return ErrorSummary(
                _plain(_class(module, name), LONGEST_CLASS), _plain(_message_of(module, name, arguments))
            )
    return ErrorSummary("", _plain(text or ""))


def fingerprint(name: str, error: ErrorSummary) -> str:
    """Return 16 characters, the same for failures of the task ``name`` that are alike.

    >>> one = fingerprint("shop.mail", ErrorSummary("KeyError", "no order 17 for 'ann'"))
    >>> one == fingerprint("shop.mail", ErrorSummary("KeyError", "no order 4711 for 'bob'"))
    True
    """
    parts = (name, error.exception, normalized(error.message))
    return blake2b("\0".join(parts).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def overflow_fingerprint(name: str) -> str:
    """Return the fingerprint of all further failures of a task that has too many of them (``store.error_keys``).

    >>> overflow_fingerprint("shop.mail") == overflow_fingerprint("shop.mail") != overflow_fingerprint("shop.pay")
    True
    """
    # No message has a NUL: ``_plain`` leaves none.
    return fingerprint(name, ErrorSummary("", "\0other"))


def normalized(message: str) -> str:
    """Return a message with asterisks for the parts that differ between like failures: numbers, ids, quoted texts.

    >>> normalized("Order 17 of 'ann' isn't paid: 3.50 EUR")
    "Order * of * isn't paid: * EUR"
    """
    return _BLANKS.sub(" ", _VARIES.sub("*", message)).strip()


def _class(module: Any, name: str) -> str:
    if not isinstance(module, str) or module == "builtins":
        return name
    own = from_wire(module, name)
    return f"{module if own is None else own.__module__}.{name}"


def _message_of(module: Any, name: str, arguments: Any) -> str:
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
