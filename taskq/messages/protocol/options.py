"""The options of a message, checked when a task is called or retried.

Errors are ``TypeError``, ``ValueError`` or ``EncodeError`` and name the option.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

from taskq import clock
from taskq.exceptions import EncodeError
from taskq.ids import MAX_NAME
from taskq.messages.round_trip import check_json
from taskq.timezones import parse_iso, to_utc
from taskq.value_kinds import LONGEST, WAIT

from .wire import RESERVED, Args

#: The largest whole number in a column of every database.
MOST_WHOLE = 2**31 - 1
# RabbitMQ refuses a longer time to live; workers read the header ``expires`` instead.
_MAX_TTL = 2**32 - 1
# Every database and every time zone can convert times of this year.
_LAST_YEAR = 9998


class MessageOptions(TypedDict, total=False):
    """The options of a message; ``None`` means "not given"."""

    exchange: str
    routing_key: str
    priority: int | None  # 0 to 9, larger is sooner
    countdown: float | timedelta | None  # seconds; beats eta
    eta: datetime | str | None  # naive: TASKQ_TIMEZONE; or ISO 8601
    expires: float | timedelta | datetime | str | None  # seconds from now, or a moment as eta
    retries: int
    serializer: str | None
    compression: str | None
    time_limit: float | None  # seconds
    soft_time_limit: float | None  # seconds
    shadow: str | None
    headers: Mapping[str, Any] | None  # the caller's own
    encoded: str | None  # the arguments in JSON, if they are encoded already
    argsrepr: str | None
    kwargsrepr: str | None
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    group_index: int | None
    ignore_result: bool | None
    reply_to: str | None
    callbacks: Any  # signatures, as link gives them
    errbacks: Any
    chain: Any  # in wire order: the next task is the last
    chord: Any
    stamped_headers: Collection[str] | None
    stamps: Mapping[str, Any] | None
    replaced_task_nesting: int
    origin: str | None
    shown: tuple[Args, Mapping[str, Any]] | None  # the masked arguments, for all but the body, if some are sensitive
    positions: Mapping[str, int] | None  # the position of each parameter, for errors
    app_id: str | None  # PROPERTIES
    cluster_id: str | None
    message_id: str | None
    type: str | None
    user_id: str | None
    reset: bool | None  # see Envelope; by default whether a task_id is given


#: The options of a message that a retry may change; ``headers`` are added to the message's.
RETRY_OPTIONS = frozenset(
    {"exchange", "routing_key", "countdown", "eta", "expires", "priority", "time_limit", "soft_time_limit", "headers"}
    | {"shadow", "serializer", "compression", "argsrepr", "kwargsrepr", "ignore_result"}
    | {"shown", "positions"}
)


def check_arguments(args: Args, kwargs: Mapping[str, Any]) -> None:
    """Raise ``TypeError`` unless these can be a call's arguments."""
    if not isinstance(args, list | tuple):
        raise TypeError(f"args must be a list or a tuple, not {type(args).__name__}.")
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs must be a mapping, not {type(kwargs).__name__}.")
    for name in kwargs:
        if not isinstance(name, str):
            raise TypeError(f"kwargs must have names as keys, not {name!r}.")


def plain(value: Any) -> Any:
    """Return text and numbers as ``str``, ``int`` or ``float``, without subclasses such as enumerations.

    Databases and the pipes between processes take no subclasses: they refuse them, or write their names.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    # Not str() and int(): a subclass can override these.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else value


def check_name(option: str, value: Any) -> str:
    """Return ``value`` if it can be an id, a name or a queue in a row."""
    if not isinstance(value, str):
        raise TypeError(f"{option} must be a string, not {value!r}.")
    if not is_storable(value):
        raise ValueError(
            f"{option} must have 1 to {MAX_NAME} characters that can be written as UTF-8, and no NUL: {value!r}."
        )
    return value if type(value) is str else str.__str__(value)


def is_storable(text: str) -> bool:
    """Tell whether ``text`` fits into a column for names, on every database."""
    if not 0 < len(text) <= MAX_NAME or "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def check_priority(value: Any) -> int:
    """Return ``value`` if it is 0 to 9; larger is sooner."""
    if not isinstance(value, int) or not 0 <= value <= 9 or isinstance(value, bool):
        raise ValueError(f"priority must be a whole number from 0 to 9 (larger is sooner), not {value!r}.")
    return int.__int__(value)


def check_whole(option: str, value: Any) -> int:
    """Return ``value`` if it is a whole number that a row can hold."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{option} must be a whole number, not {value!r}.")
    if not 0 <= value <= MOST_WHOLE:
        raise ValueError(f"{option} must be a whole number from 0 to {MOST_WHOLE}, not {value!r}.")
    return int.__int__(value)


def check_limits(hard: float | None, soft: float | None) -> None:
    """Raise ``ValueError`` unless the limits (seconds) are valid."""
    for option, value in (("time_limit", hard), ("soft_time_limit", soft)):
        if value is not None and not is_limit(value):
            raise ValueError(f"{option} must be {WAIT.words}, not {value!r}.")


def check_limit_order(name: str, hard: float | None, soft: float | None) -> None:
    """Raise ``ValueError`` if the soft limit of the task ``name``, or of a call of it, is above the hard limit."""
    if hard and soft and is_limit(hard) and is_limit(soft) and soft > hard:
        raise ValueError(
            f"{name}: soft_time_limit must be less than or equal to time_limit: {soft:g} s is above {hard:g} s."
        )


def is_limit(value: Any) -> bool:
    """Tell whether ``value`` is a number of seconds that any timer takes; senders and workers check it alike."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST


# -- times ---------------------------------------------------------------------


def _moment(option: str, value: Any) -> datetime:
    try:
        if isinstance(value, datetime):
            return to_utc(value)
        if isinstance(value, str):
            return parse_iso(value)
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"{option}: {exc}") from exc
    raise TypeError(f"{option} must be a datetime, not {value!r}.")


def _after(option: str, seconds: float, now: datetime) -> datetime:
    try:
        return now + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise ValueError(f"{option}={seconds!r} is not a number of seconds that leads to a date.") from None


def _within(option: str, value: Any, moment: datetime) -> datetime:
    if moment.year > _LAST_YEAR:
        raise ValueError(f"{option}={value!r} is too far away: the last year is {_LAST_YEAR}.")
    return moment


def _seconds(value: Any) -> float | None:
    """Return a duration in seconds, ``None`` if ``value`` is no duration."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def due(countdown: float | timedelta | None, eta: datetime | str | None) -> tuple[str | None, float, datetime | None]:
    """Return the header ``eta``, the seconds until then (0 for a past time), and the moment, if it is that of ``eta``.

    ``countdown`` beats ``eta``. Without both the header is ``None``.
    """
    now = clock.utc_now()
    # Read even if ``countdown`` beats it: a wrong ``eta`` is an error all the same.
    moment = None if eta is None else _within("eta", eta, _moment("eta", eta))
    if countdown is not None:
        if (seconds := _seconds(countdown)) is None:
            raise TypeError(f"countdown must be a number of seconds, not {countdown!r}.")
        until = _within("countdown", countdown, _after("countdown", seconds, now)) if seconds else None
        return (None, 0.0, None) if until is None else (until.isoformat(), max(0.0, float(seconds)), None)
    if moment is None:
        return None, 0.0, None
    return moment.isoformat(), max(0.0, (moment - now).total_seconds()), moment


def expiry(expires: float | timedelta | datetime | str) -> tuple[datetime, float | None]:
    """Return the time of ``expires`` in UTC, and the seconds if it was given in seconds."""
    if (seconds := _seconds(expires)) is not None:
        return _within("expires", expires, _after("expires", seconds, clock.utc_now())), float(seconds)
    return _within("expires", expires, _moment("expires", expires)), None


def expiration(expires: float, now: float) -> str | None:
    """Return the property ``expiration``: milliseconds from ``now`` on, ``None`` if they are too many for a broker.

    A message that waited before it was published needs a new value.
    """
    ttl = max(0, round((expires - now) * 1000))
    return str(ttl) if ttl <= _MAX_TTL else None


# -- headers and stamps ----------------------------------------------------------


def check_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the caller's own headers, checked: they can be sent, and none is a header of the protocol."""
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping, not {headers!r}.")
    for name in headers:
        if not isinstance(name, str):
            raise TypeError(f"headers must have strings as keys, not {name!r}.")
        if name in RESERVED:
            raise ValueError(f"headers must not hold {name!r}: that header is the protocol's own.")
    return _check_plain("header", headers)


def check_stamps(stamps: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``stamps`` if they can be sent; sets become lists."""
    return _check_plain("stamp", {k: list(v) if isinstance(v, set | frozenset) else v for k, v in stamps.items()})


def _check_plain(what: str, values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        try:
            text = json.dumps(value)
            check_json(value, text)
            found[plain(name)] = json.loads(text)
        except (TypeError, ValueError, RecursionError) as exc:
            raise EncodeError(
                f"The {what} {name!r} can't be sent: {exc}. Use text, numbers, booleans, None, lists and dictionaries."
            ) from exc
    return found
