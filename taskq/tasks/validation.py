"""Validates the options of a task when it is registered, by the table ``OPTIONS``.

So a wrong value is an error when ``tasks.py`` is imported, and sending and running need no checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kombu.entity import Exchange, Queue

from taskq import value_kinds as kinds
from taskq.calls.options import FromSetting, RetryOptions
from taskq.ids import MAX_NAME
from taskq.messages.protocol.options import check_name, expiry
from taskq.value_kinds import Kind

if TYPE_CHECKING:
    from taskq.calls.options import Exceptions

    from .task import Task

__all__ = ["HANDLERS", "check", "exceptions"]

#: The handlers of a task.
HANDLERS = ("before_start", "on_success", "on_retry", "on_failure", "after_return")
#: The keys of ``retry_kwargs``; an automatic retry sets ``exc`` and ``throw`` itself.
_RETRY_ARGUMENTS = frozenset({"args", "kwargs", "eta", "countdown", "max_retries", *RetryOptions.__annotations__})


def exceptions(given: Exceptions) -> tuple[type[BaseException], ...]:
    """Return the classes of ``throws``, ``autoretry_for`` or ``dont_autoretry_for`` as a tuple."""
    found = (given,) if isinstance(given, type) else given
    if not isinstance(found, list | tuple | set | frozenset):
        raise TypeError(given)
    if not all(isinstance(each, type) and issubclass(each, BaseException) for each in found):
        raise TypeError(given)
    return tuple(found)


def _refuse(value: Any) -> Any:
    raise TypeError(value)


def _instance(words: str, *classes: type, others: Callable[[Any], Any] = _refuse) -> Kind[Any]:
    """Return the kind of values that are instances of ``classes``, or that ``others`` converts."""
    return Kind(words, lambda value: value if isinstance(value, classes) else others(value))


def _moment(value: Any) -> Any:
    expiry(value)
    return value


def _retry_arguments(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(value)
    if not value.keys() <= _RETRY_ARGUMENTS:
        raise ValueError(value)
    kinds.optional(kinds.WHOLE).convert(value.get("max_retries"))
    return value


def _callable(value: Any) -> Any:
    if not callable(value):
        raise TypeError(value)
    return value


_FLAG = kinds.FLAG
_NAME = f"text of 1 to {MAX_NAME} characters"
_EXCEPTIONS = Kind("an exception class or a tuple of them", exceptions)
_HANDLER = Kind("a function", _callable)

#: Every option, and the handlers.
OPTIONS: Mapping[str, Kind[Any]] = {
    "name": Kind(f"a {_NAME}", lambda value: check_name("name", value)),
    "ignore_result": _FLAG,
    "store_errors_even_if_ignored": _FLAG,
    "track_started": _FLAG,
    "trail": _FLAG,
    "typing": _FLAG,
    "acks_late": _FLAG,
    "retry_jitter": _FLAG,
    "serializer": kinds.TEXT,
    "compression": kinds.optional(kinds.TEXT),
    "queue": kinds.optional(_instance(f"a {_NAME} or a kombu Queue", Queue, others=lambda v: check_name("queue", v))),
    "exchange": kinds.optional(_instance("the name of an exchange or a kombu Exchange", Exchange, str)),
    "routing_key": kinds.optional(_instance("a text", str)),
    "priority": kinds.optional(kinds.PRIORITY),
    "expires": kinds.optional(Kind("a number of seconds, or a moment as a datetime or in ISO 8601", _moment)),
    "max_deliveries": kinds.COUNT,
    "time_limit": kinds.optional(kinds.WAIT),
    "soft_time_limit": kinds.optional(kinds.WAIT),
    "rate_limit": kinds.optional(kinds.RATE),
    "rate_limit_scope": kinds.choice("worker", "cluster"),
    "max_retries": kinds.optional(kinds.WHOLE),
    "default_retry_delay": kinds.WAIT,
    "retry_backoff": _instance("True, False or a number of seconds", bool, others=kinds.WAIT.convert),
    "retry_backoff_max": kinds.WAIT,
    "retry_kwargs": Kind("a dictionary of arguments of retry(), as max_retries", _retry_arguments),
    "autoretry_for": _EXCEPTIONS,
    "dont_autoretry_for": _EXCEPTIONS,
    "throws": _EXCEPTIONS,
    "sensitive": Kind("a tuple of names of parameters, as ('password',)", kinds.NAMES.convert),
    **dict.fromkeys(HANDLERS, _HANDLER),
}


def check(task: Task[..., Any], base: type[Task[..., Any]]) -> None:
    """Check and normalize the options that ``task`` sets itself. Raises ``TypeError`` or ``ValueError``.

    Values from ``base``, which is ``Task``, and from settings are not checked.
    """
    for option, value in _own_options(task, base):
        kind = OPTIONS[option]
        try:
            converted = kind.convert(value)
        except (TypeError, ValueError, OverflowError) as error:
            who = task.origin if option == "name" else task.name
            wrong = TypeError if isinstance(error, TypeError) else ValueError
            raise wrong(f"{who}: {option} must be {kind.words}, not {value!r:.300}.") from None
        if converted != value:
            setattr(task, option, converted)


def _own_options(task: Task[..., Any], base: type[Task[..., Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the options that the task, or a class between it and ``base``, sets; a property has no value yet."""
    found: dict[str, Any] = {}
    for cls in reversed(type(task).__mro__):
        if cls not in base.__mro__:
            found |= vars(cls)
    found |= vars(task)
    for option in OPTIONS:
        if option in found and not isinstance(found[option], FromSetting | property | cached_property):
            yield option, getattr(task, option)
