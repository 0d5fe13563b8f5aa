"""Shifts the wall clock of a process by ``CLOCK_SHIFT`` seconds: its directory goes into ``PYTHONPATH``.

The monotonic clock stays, as on a machine whose clock is wrong.
"""

from __future__ import annotations

import datetime
import os
import time
from typing import Any

_real_time, _real_datetime = time.time, datetime.datetime


def _shift() -> float:
    return float(os.environ["CLOCK_SHIFT"])


class _Looks(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _real_datetime)


class _Datetime(_real_datetime, metaclass=_Looks):
    """Makes instances of the real class."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return _real_datetime(*args, **kwargs)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _real_datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return _real_datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


if "CLOCK_SHIFT" in os.environ:
    time.time = lambda: _real_time() + _shift()
    datetime.datetime = _Datetime  # type: ignore[misc]
