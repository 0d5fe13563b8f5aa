"""The arguments of a task in its row: the text ``[args, kwargs]``, as JSON, and behind them notes if there are any.

The notes say what a reader who wants to run the task again has to know: ``{"masked": true}`` that asterisks stand for
sensitive values, ``{"serializer": "yaml"}`` by which serializer the message was encoded if not as JSON, and with
``"exact": false`` that JSON can't hold the arguments as they were. While ``TASKQ_SIGNING`` is on, a seal is last.
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
#: The text in place of arguments that are too large to be looked through for sensitive values.
ALL_MASKED = f'[["{MASK}"], {{}}, {{"masked": true}}]'
#: Text that ``dumps_json`` writes can't end so: the last element of ``[args, kwargs]`` is no text.
_SEAL = re.compile(r', "seal:([0-9a-f]{64})"\]\Z')


@dataclass(frozen=True, slots=True)
class StoredArguments:
    """The arguments of a row. ``text`` is ``[args, kwargs]`` as it was encoded, empty if there are notes."""

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
    """Return the arguments of a row. Raises ``DecodeError`` for a text that is none, or of types not known here."""
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
    """Return the text with a seal of it, of the task's id and of its name; as it is while ``TASKQ_SIGNING`` is off."""
    if text is None or not settings.SIGNING or not text.endswith("]"):
        return text
    plain = _SEAL.sub("]", text)
    return f'{plain[:-1]}, "seal:{signing.mac(_PURPOSE, (task_id, name), plain)}"]'


def verify(text: str, task_id: str, name: str) -> None:
    """Raise ``SignatureMismatch`` if ``TASKQ_SIGNING`` is on and the text was altered, or is of another task."""
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
    """Tell whether the arguments that are read from ``text`` are those that were written, of the same types."""
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
