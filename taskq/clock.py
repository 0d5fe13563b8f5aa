"""The clock of the database, as this process knows it.

A worker measures the database's time with each heartbeat, and its children get the measure with each delivery. Between
two measures the monotonic clock runs on, so a jump of the machine's clock changes nothing. A process that has measured
nothing has the machine's clock: a sender, and everything on SQLite, whose clock that is.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

#: The database's time when the monotonic clock was 0, as a Unix time.
_zero: float | None = None


def now() -> float:
    """Return the database's time as a Unix time."""
    return time.time() if _zero is None else _zero + time.monotonic()


def utc_now() -> datetime:
    """Return the database's time in UTC."""
    return datetime.fromtimestamp(now(), UTC)


def measure() -> float | None:
    """Return what ``use`` takes, for another process of this machine."""
    return _zero


def use(zero: float | None) -> None:
    """Use a measure of another process of this machine; ``None`` is the machine's clock."""
    global _zero
    _zero = zero


def seconds_until(deadline: float) -> float:
    """Return the seconds to ``deadline``, which is a time of the monotonic clock."""
    return deadline - time.monotonic()
