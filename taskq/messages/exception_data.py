"""Exceptions as data: ``{"exc_type", "exc_message", "exc_module"}``, Celery's layout.

Encoding never fails. Decoding imports nothing: an exception class is looked up in the loaded
modules; if it is not there, a stand-in class of the same name replaces it.
"""

from __future__ import annotations

import json
import math
import reprlib
import sys
from contextlib import suppress
from functools import lru_cache
from types import ModuleType
from typing import Any

from kombu.utils.json import loads

from taskq.containment import contained
from taskq.exceptions import TaskqError, from_wire, wire_module

from .round_trip import check_json
from .serializers import to_json

#: Characters that are kept of an argument of an exception.
LONGEST_ARGUMENT = 50_000
#: Arguments that are kept of an exception.
MOST_ARGUMENTS = 100
#: The most characters of one exception in the rows of all tasks that fail with it, and the least in each row.
_MOST_OF_ALL, _LEAST_OF_EACH = 1_000_000, 2_000


class RemoteTraceback(Exception):
    """The cause of an exception that was raised in another process: its traceback as text."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"in the worker:\n\n{self.text}"


def encode_exception(exc: BaseException) -> str:
    """Return ``exc`` as JSON. Never raises: an argument that can't be encoded is replaced by its ``repr``."""
    cls = type(exc)
    arguments = [_argument(argument) for argument in _arguments(exc)]
    module = wire_module(cls)
    kind, where = json.dumps(str(cls.__qualname__)), json.dumps(str(module))
    return f'{{"exc_type": {kind}, "exc_message": [{", ".join(arguments)}], "exc_module": {where}}}'


def decode_exception(text: str | None) -> BaseException:
    """Rebuild the exception that ``encode_exception``, or a Celery worker, wrote.

    Never raises: any other text becomes an ``Exception`` with that text. ``SystemExit`` and
    ``KeyboardInterrupt``, which would end this process, become a ``TaskqError`` that names them.
    """
    try:
        data = loads(text or "null")
    except Exception:  # not JSON, or an argument that kombu can't read
        return Exception(text)
    if not isinstance(data, dict) or not isinstance(data.get("exc_type"), str):
        return Exception(text or "")
    return _build(_find(data.get("exc_module"), data["exc_type"]), _listed(data.get("exc_message", [])))


def cut_for_many(text: str, count: float = math.inf) -> str:
    """Return an exception as data for the rows of ``count`` tasks that fail with it, cut if that would be much.

    >>> len(cut_for_many(encode_exception(KeyError("x" * 50_000)), 100)) < 3_000
    True
    """
    if len(text) <= max(_LEAST_OF_EACH, _MOST_OF_ALL / count):
        return text
    try:
        data = json.loads(text)
        kind, module = (str(data[key])[:_LEAST_OF_EACH] for key in ("exc_type", "exc_module"))
        arguments = _listed(data["exc_message"])[:MOST_ARGUMENTS]
        cut = [_cut(argument, _LEAST_OF_EACH // max(1, len(arguments))) for argument in arguments]
    except (ValueError, KeyError, TypeError, RecursionError):
        kind, module, cut = "Exception", "builtins", [f"{text[:_LEAST_OF_EACH]}..."]
    return json.dumps({"exc_type": kind, "exc_message": cut, "exc_module": module})


def _cut(argument: Any, most: int) -> Any:
    """Return an argument of an exception, or the beginning of its text if that is long."""
    text = argument if isinstance(argument, str) else to_json(argument)
    return argument if len(text) <= most else f"{text[:most]}..."


def _listed(message: Any) -> list[Any]:
    """Return the arguments of an exception; another program may have written one alone."""
    return message if isinstance(message, list) else [message]


def repr_of(text: str) -> str:
    """Return the ``repr`` of an exception as data, without building it."""
    try:
        data = json.loads(text)
        shown = ", ".join(map(repr, _listed(data["exc_message"])))
        return f"{data['exc_type']}({shown})"
    except (ValueError, KeyError, TypeError, RecursionError):
        return text


def _build(cls: type[BaseException], arguments: list[Any]) -> BaseException:
    """Make the exception; if its class refuses the arguments, a plain ``Exception`` that names both."""
    if not issubclass(cls, Exception):
        return TaskqError(f"The task raised {cls.__qualname__}({', '.join(map(repr, arguments))}).")
    # The constructor is user code: its own error must not replace the task's exception.
    with suppress(Exception):
        built = cls(*arguments)
        if isinstance(built, BaseException):
            return built
    return Exception(f"{cls}({arguments!r})")


def _find(module: Any, qualname: str) -> type[BaseException]:
    """Return the exception class ``qualname`` of a loaded module, else a stand-in."""
    if not isinstance(module, str):
        return _stand_in("taskq.exceptions", qualname)
    found: Any = from_wire(module, qualname) or sys.modules.get(module)
    if isinstance(found, ModuleType):
        for name in qualname.split("."):
            # ``vars`` and not ``getattr``: a name in a message must not run a module's ``__getattr__``.
            found = getattr(found, "__dict__", {}).get(name)
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    return _stand_in(module, qualname)


@lru_cache(maxsize=256)
def _stand_in(module: str, qualname: str) -> type[BaseException]:
    name = qualname.rpartition(".")[2]
    try:
        return type(name, (Exception,), {"__module__": module, "__qualname__": qualname})
    except ValueError:  # Python refuses some characters.
        return type(ascii(name), (Exception,), {"__module__": module})


def _arguments(exc: BaseException) -> tuple[Any, ...]:
    try:
        arguments = tuple(exc.args)
    except contained():
        return ()
    return arguments[:MOST_ARGUMENTS]


def _argument(value: Any) -> str:
    """Return one argument as JSON that can be decoded again."""
    try:
        text = to_json(value)
        check_json(value, text)
        if len(text) <= LONGEST_ARGUMENT:
            return text
    except contained():
        return json.dumps(_shown(value))
    return json.dumps(_shortened(value if isinstance(value, str) else _shown(value)))


def _shown(value: Any) -> str:
    """Return ``repr(value)``, or a replacement for it if that raises."""
    try:
        return _shortened(repr(value))
    except contained():
        return reprlib.repr(type(value).__qualname__) + " instance whose repr() raised"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_ARGUMENT else text[:LONGEST_ARGUMENT] + "..."
