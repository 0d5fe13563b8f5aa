"""The arguments of a task in its row: the JSON text ``[args, kwargs]``, or ``[args, kwargs, notes]``.

The notes are for running the task again:

- ``"masked": true``: sensitive values are masked.
- ``"serializer": "yaml"``: the message was encoded by this serializer, and not as JSON.
- ``"exact": false``: JSON can't hold the arguments as they were.

While ``TASKQ_SIGNING`` is on, a seal is the last element.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskq.conf import settings
from taskq.containment import contained
from taskq.exceptions import DecodeError, EncodeError, SignatureMismatch

from . import serializers, signing, values
from .reprs import MASK

Args = list[Any] | tuple[Any, ...]
_PURPOSE = "run.arguments"
#: The text for arguments that are too large to be searched for sensitive values.
ALL_MASKED = f'[["{MASK}"], {{}}, {{"masked": true}}]'
#: The seal. Without one, the last element is a dictionary: kwargs or notes.
_SEAL = re.compile(r', "seal:([0-9a-f]{64})"\]\Z')


@dataclass(frozen=True, slots=True)
class StoredArguments:
    """The arguments of a row. ``text`` is the text without its seal; it is empty if there are notes."""

    args: list[Any]
    kwargs: dict[str, Any]
    masked: bool = False
    serializer: str = "json"
    exact: bool = True
    text: str = ""


def to_text(args: Args, kwargs: Mapping[str, Any], serializer: str = "json", *, masked: bool = False) -> str | None:
    """Return the text for the row, ``None`` if JSON can't hold the arguments at all."""
    plain = serializers.is_plain_json(serializer)
    notes: dict[str, Any] = {"masked": True} if masked else {}
    try:
        text = serializers.dumps_json([args, dict(kwargs)])
        if not (plain or masked):
            notes |= {"serializer": serializer} | ({} if _is_exact(text, args, kwargs) else {"exact": False})
        return f"{text[:-1]}, {serializers.dumps_json(notes)}]" if notes else text
    except EncodeError:
        return None


def from_text(text: str) -> StoredArguments:
    """Return the arguments of a row. Raises ``DecodeError`` if the text has another form, or types not known here."""
    unsealed = _SEAL.sub("]", text)
    try:
        match values.decode(unsealed):
            case [list() as args, dict() as kwargs]:
                return StoredArguments(args, kwargs, text=unsealed)
            case [list() as args, dict() as kwargs, dict() as notes]:
                serializer = str(notes.get("serializer", "json"))
                return StoredArguments(
                    args, kwargs, notes.get("masked") is True, serializer, notes.get("exact") is not False
                )
    except contained() as error:
        raise DecodeError(f"{type(error).__name__}: {error}") from error
    raise DecodeError("The stored arguments are no list of args and kwargs.")


def seal(text: str | None, task_id: str, name: str) -> str | None:
    """Return the text with a seal of text, task id and name; unchanged while ``TASKQ_SIGNING`` is off."""
    if text is None or not settings.SIGNING or not text.endswith("]"):
        return text
    plain = _SEAL.sub("]", text)
    return f'{plain[:-1]}, "seal:{signing.mac(_PURPOSE, (task_id, name), plain)}"]'


def verify(text: str, task_id: str, name: str) -> None:
    """Raise ``SignatureMismatch`` if ``TASKQ_SIGNING`` is on and the text was altered, or belongs to another task."""
    if settings.SIGNING:
        found = _SEAL.search(text)
        if found is None:
            raise SignatureMismatch(
                f"The stored arguments of {task_id} have no seal, and TASKQ_SIGNING is on: they are of a time "
                "without it or of an older version, or were altered."
            )
        if not signing.is_mac(found[1], _PURPOSE, (task_id, name), _SEAL.sub("]", text)):
            raise SignatureMismatch(
                f"The stored arguments of {task_id} were altered, or are not sealed by SECRET_KEY "
                "or a key in SECRET_KEY_FALLBACKS, and TASKQ_SIGNING is on."
            )


def _is_exact(text: str, args: Args, kwargs: Mapping[str, Any]) -> bool:
    """Tell whether ``text`` is decoded as the same arguments, with the same types."""
    try:
        return _same(values.decode(text), [list(args), dict(kwargs)])
    except contained():
        return False


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return bool(one == other)
