"""Stored text made readable: arguments, results, exceptions, children.

Pure functions over text. They never build objects from what a row holds (no pickle, no class is looked up but
taskq's own exceptions, no ``taskq.results`` decoding): a page must be safe to open whatever was written. What can't be
read is shown as it is, with a note.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from taskq.exceptions import from_wire
from taskq_admin.folds import folded

#: Characters of a payload that a page reads at most.
LIMIT = 64 * 1024
#: Bytes of HTML that the payloads of a page take at most, and one of them.
PAGE, EACH = 600_000, 150_000
#: The most characters of a task id.
_LONGEST_ID = 255
_UNREADABLE = object()
_ENCODER = json.JSONEncoder(indent=2, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Payload:
    """Text to show, and a note when it is not the whole or could not be read. ``to_html`` may fold it."""

    text: str
    note: str = ""
    to_html: Callable[[str], SafeString] = escape

    @property
    def html(self) -> SafeString:
        """The text as it stands in the page."""
        return self.to_html(self.text)


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as data: its dotted type and its message."""

    type: str
    message: str


class Space:
    """The space for payloads on one page. A character takes up to six bytes there, indentation and folds any number."""

    def __init__(self, size: int = PAGE) -> None:
        self._left = size

    def fit(self, found: Payload | None) -> Payload | None:
        """Return a payload that is cut to what there is room for."""
        if found is None:
            return None
        text = self.cut(found.text, found.to_html)
        return found if text == found.text else replace(found, text=text, note=_first(len(text)))

    def cut(self, text: str, to_html: Callable[[str], SafeString] = escape) -> str:
        """Return the start of ``text`` that there is room for as HTML, and take the room."""
        room = min(self._left, EACH)
        shown = text[:room]
        while (size := len(to_html(shown).encode())) > room:
            shown = shown[: len(shown) * room // size]
        self._left -= size
        return shown


def payload(text: str | None, content_type: str = "application/json") -> Payload | None:
    """Return ``text`` indented when it is whole JSON, as it is otherwise; ``None`` for no text."""
    if not text:
        return None
    content_type = content_type.partition(";mac=")[0]  # the seal of TASKQ_SIGNING
    if content_type != "application/json":
        return _raw(text, _("Stored as %(type)s, shown as it is.") % {"type": content_type})
    value = _parse(text)
    return _raw(text, _("This is not valid JSON.")) if value is _UNREADABLE else _indented(value)


def arguments(text: str | None) -> tuple[Payload | None, Payload | None]:
    """Split the text ``[args, kwargs]``: positional and keyword arguments, each ``None`` when there are none."""
    value = _parse(text) if text else None
    match value:
        case [list() as args, dict() as kwargs, *_]:
            return (_indented(args) if args else None, _indented(kwargs) if kwargs else None)
    return payload(text), None


def failure(text: str | None) -> Failure | None:
    """Read an exception as data (``exc_type``, ``exc_message``, ``exc_module``); ``None`` if it is none."""
    match _parse(text) if text else None:
        case {"exc_type": str() as name, **rest}:
            module, arguments = rest.get("exc_module"), rest.get("exc_message")
            if isinstance(module, str) and (own := from_wire(module, name)) is not None:
                return Failure(f"{own.__module__}.{name}", _printable(_message_of_own(own, arguments)))
            prefix = f"{module}." if isinstance(module, str) and module != "builtins" else ""
            return Failure(_printable(prefix + name), _printable(_message(arguments)))
    return None


def child_ids(text: str | None) -> list[str]:
    """Return the task ids in a ``children`` text: plain ids, or result tuples ``[[id, parent], members]``."""
    value = _parse(text) if text else None
    try:
        found = dict.fromkeys(_ids(value)) if isinstance(value, list) else ()
        return [task_id for task_id in found if len(task_id) <= _LONGEST_ID]
    except RecursionError:
        return []


def _ids(items: list[Any]) -> Iterator[str]:
    for item in items:
        match item:
            case str() as task_id:
                yield task_id
            case [[str(), *_], list() as members]:
                yield from _ids(members)
            case [[str() as task_id, *_], *_] | [str() as task_id, *_]:
                yield task_id


def _message(value: Any) -> str:
    """Return an exception's arguments as one line: old writers stored a string."""
    parts = value if isinstance(value, list) else [] if value is None else [value]
    return ", ".join(part if isinstance(part, str) else json.dumps(part, ensure_ascii=False) for part in parts)


def _message_of_own(cls: type[BaseException], arguments: Any) -> str:
    """Return the text of an exception of taskq's, which is stored under Celery's name for it."""
    try:
        return str(cls(*arguments))
    except Exception:  # the arguments are not those of the class
        return _message(arguments)


def _parse(text: str) -> Any:
    # The length is checked because a text that was cut when it was read is never whole JSON.
    if len(text) > LIMIT:
        return _UNREADABLE
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _UNREADABLE


def _raw(text: str, note: str) -> Payload:
    return Payload(_printable(text[:LIMIT]), _first(LIMIT) if len(text) > LIMIT else note)


def _first(count: int) -> str:
    return _("Only the first %(count)s characters are shown.") % {"count": f"{count:,}"}


def _indented(value: Any) -> Payload:
    # Piece by piece: what is nested deeply is mostly indentation, megabytes of it.
    text = ""
    try:
        for piece in _ENCODER.iterencode(value):
            text += piece
            if len(text) > EACH:
                return Payload(_printable(text[:EACH]), _first(EACH), folded)
    except RecursionError:
        return Payload(_printable(text), _("This is nested too deeply to be shown as a whole."), folded)
    return Payload(_printable(text), to_html=folded)


def _printable(text: str) -> str:
    # JSON may hold half a surrogate pair, which no response can be encoded with.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
