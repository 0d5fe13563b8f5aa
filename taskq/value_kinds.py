"""The kinds of values of settings and options: a kind checks a value and converts it into one form.

``taskq.conf`` gives each setting a kind, ``tasks.validation`` each option of a task; the checks and the
documentation use its words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from typing import Any, Generic, TypeVar

from taskq import rates

T = TypeVar("T")

#: The longest limit or wait, in seconds, that any timer takes: 68 years.
LONGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """The kind of a setting or option. ``words`` end the sentence "must be ...".

    ``convert`` returns the converted value, or raises ``TypeError`` or ``ValueError``.
    """

    words: str
    convert: Callable[[Any], T]


def _of(*types: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise TypeError(value)
        return value

    return convert


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    if not value.strip():
        raise ValueError(value)
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise TypeError(value)
    return tuple(_text(name) for name in value)


def _seconds(least: float, most: float = math.inf, *, above: bool = False) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(_of(int, float)(value))
        if not (seconds > least if above else seconds >= least) or seconds > most:  # also refuses NaN
            raise ValueError(value)
        return seconds

    return convert


def _age(value: Any) -> timedelta | None:
    # 0 means "for ever", as in Celery.
    return None if value is None else timedelta(seconds=_seconds(0)(value)) or None


def _whole(least: int, most: int | None = None) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        number: int = _of(int)(value)
        if number < least or (most is not None and number > most):
            raise ValueError(value)
        return number

    return convert


#: Celery's defaults: the seconds between tries grow by ``interval_step`` up to ``interval_max``.
PUBLISH_RETRY_POLICY: Mapping[str, Any] = {
    "max_retries": 3,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 1,
}


def _policy(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(value)
    if set(value) - {*PUBLISH_RETRY_POLICY, "retry_errors"}:
        raise ValueError(value)
    return {**PUBLISH_RETRY_POLICY, **value}


def _rate(value: Any) -> Any:
    rates.per_second(value)
    return value


def _autoscale(value: Any) -> tuple[int, int]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        parts = [parts]
    most, least = [_whole(0)(int(part) if isinstance(part, str) else part) for part in [*parts, 0][:2]]
    if len(parts) > 2 or max(most, least) < 1:
        raise ValueError(value)
    # Something has to take the first message.
    return max(most, least), max(1, min(most, least))


def optional(kind: Kind[T]) -> Kind[T | None]:
    """Return the kind that also accepts ``None``."""
    return Kind(f"{kind.words}, or None", lambda value: None if value is None else kind.convert(value))


def choice(*names: str) -> Kind[str]:
    """Return the kind that accepts one of ``names``."""

    def convert(value: Any) -> str:
        if value not in names:
            raise ValueError(value)
        return str(value)

    return Kind(" or ".join(repr(name) for name in names), convert)


FLAG: Kind[bool] = Kind("True or False", _of(bool))
TEXT = Kind("a string that is not empty", _text)
NAMES = Kind("a list of names", _names)
SECONDS = Kind("a number of seconds, 0 or more", _seconds(0))
DURATION = Kind("a number of seconds above 0", _seconds(0, above=True))
LIMIT = Kind(f"a number of seconds above 0, {LONGEST} at most", _seconds(0, LONGEST, above=True))
WAIT = Kind(f"a number of seconds from 0 to {LONGEST}", _seconds(0, LONGEST))
AGE = Kind("a timedelta or a number of seconds, or None", _age)
WHOLE = Kind("a whole number, 0 or more", _whole(0))
COUNT = Kind("a whole number, 1 or more", _whole(1))
RATE: Kind[str | float] = Kind(rates.WORDS, _rate)
PRIORITY = Kind("a whole number from 0 to 9", _whole(0, 9))
AUTOSCALE: Kind[tuple[int, int]] = Kind("the most and the fewest processes, such as (10, 3) or '10,3'", _autoscale)
OPTIONS: Kind[Mapping[str, Any]] = Kind("a dictionary", _of(dict))
POLICY = Kind(f"a dictionary with {', '.join(PUBLISH_RETRY_POLICY)} or retry_errors", _policy)
QUEUE_TABLE: Kind[Any] = Kind(
    "a list of names or of kombu's Queue, or a dictionary of names and options", _of(list, tuple, dict)
)
ROUTE_TABLE: Kind[Any] = Kind(
    "a dictionary, or a list of pairs, dictionaries, callables or import paths", _of(list, tuple, dict)
)
ZONE: Kind[str | tzinfo] = Kind(
    "the name of a time zone", lambda value: value if isinstance(value, tzinfo) else _text(value)
)
