"""Converts times to aware times in UTC, which messages, rows and schedules hold.

A time without a zone is in ``TASKQ_TIMEZONE``; if it does not exist there, or exists twice, it is an error.
Zones may be names, pytz's objects or ``zoneinfo``'s.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any

import pytz
from django.core.exceptions import ImproperlyConfigured

from taskq.conf import settings

__all__ = ["AmbiguousTime", "NonexistentTime", "now", "parse_iso", "to_utc", "zone"]


class NonexistentTime(pytz.NonExistentTimeError, ValueError):  # type: ignore[misc, unused-ignore]  # pytz has no types
    """A local time that does not exist: the clocks jump over it."""


class AmbiguousTime(pytz.AmbiguousTimeError, ValueError):  # type: ignore[misc, unused-ignore]  # pytz has no types
    """A local time that exists twice: the clocks are set back."""


def now() -> datetime:
    """Return the time of this machine's clock, in UTC."""
    return datetime.now(UTC)


def zone(value: str | tzinfo | None = None) -> tzinfo:
    """Return the zone with the name ``value``, by default that of ``TASKQ_TIMEZONE``.

    Raises ``ValueError`` for a name that pytz does not know, ``ImproperlyConfigured`` if it is the setting's.
    """
    if value is not None:
        return value if isinstance(value, tzinfo) else _named(value)
    try:
        return zone(settings.TIMEZONE)
    except ValueError as exc:
        raise ImproperlyConfigured(f"TASKQ_TIMEZONE: {exc}") from None


@lru_cache(maxsize=64)
def _named(name: str) -> tzinfo:
    try:
        found: tzinfo = pytz.timezone(name)
    except (pytz.UnknownTimeZoneError, AttributeError):
        raise ValueError(f"{name!r} is not the name of a time zone (pytz.all_timezones lists them).") from None
    return found


def to_utc(value: datetime, tz: str | tzinfo | None = None) -> datetime:
    """Return ``value`` in UTC; a naive time is in the zone ``tz``, by default ``TASKQ_TIMEZONE``.

    Raises ``NonexistentTime``, ``AmbiguousTime``, or ``ValueError`` outside of the years 1 to 9999 in UTC.
    """
    if not isinstance(value, datetime):
        raise TypeError(f"A datetime is needed, not {value!r}.")
    own = value.tzinfo
    if own is UTC:
        return value
    try:
        if own is None or _is_bare_pytz(own) or value.utcoffset() is None:
            value = _localize(value.replace(tzinfo=None), own if own and _is_bare_pytz(own) else zone(tz))
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value} is outside of the years 1 to 9999 in UTC.") from None


def _is_bare_pytz(tz: tzinfo) -> bool:
    """Return whether ``tz`` is a zone of pytz as ``timezone()`` returns it.

    In ``datetime(..., tzinfo=tz)`` it has the local mean time of about 1900, minutes off: ``localize()`` is right.
    """
    return isinstance(tz, pytz.tzinfo.DstTzInfo) and tz is pytz.timezone(tz.zone)


def _localize(naive: datetime, tz: tzinfo) -> datetime:
    localize: Any = getattr(tz, "localize", None)
    if localize is None:
        return _localize_by_fold(naive, tz)
    try:
        aware: datetime = localize(naive, is_dst=None)
    except pytz.NonExistentTimeError:
        raise _nonexistent(naive, tz) from None
    except pytz.AmbiguousTimeError:
        raise _ambiguous(naive, tz) from None
    return aware


def _localize_by_fold(naive: datetime, tz: tzinfo) -> datetime:
    """Localize as pytz does, for any other zone (PEP 495: the two folds differ in a gap and in an overlap)."""
    first, second = (naive.replace(tzinfo=tz, fold=fold).utcoffset() for fold in (0, 1))
    if first is None or second is None:
        raise ValueError(f"The time zone {tz!r} has no offset from UTC.")
    if first < second:
        raise _nonexistent(naive, tz)
    if first > second:
        raise _ambiguous(naive, tz)
    return naive.replace(tzinfo=tz)


def _nonexistent(naive: datetime, tz: tzinfo) -> NonexistentTime:
    return NonexistentTime(f"{naive} does not exist in {tz}: the clocks jump over it. Give a time with a tzinfo.")


def _ambiguous(naive: datetime, tz: tzinfo) -> AmbiguousTime:
    return AmbiguousTime(f"{naive} is ambiguous in {tz}: it comes twice. Give a time with a tzinfo.")


def parse_iso(text: str) -> datetime:
    """Return the ISO-8601 time ``text`` in UTC. Without an offset it is in ``TASKQ_TIMEZONE``. Raises ``ValueError``.

    A date alone is its midnight.
    """
    try:
        value = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        try:
            value = datetime.fromisoformat(text.upper())  # RFC 3339 has "t" and "z" too
        except (TypeError, ValueError, AttributeError):
            raise ValueError(f"{text!r} is not an ISO-8601 time.") from None
    return to_utc(value)
