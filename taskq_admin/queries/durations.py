"""Lengths of time in words that fit a table cell."""

from __future__ import annotations

import math
from datetime import datetime

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def between(start: datetime | None, end: datetime | None) -> float | None:
    """Return the seconds from ``start`` to ``end``, or ``None`` if either is missing or they can't be compared."""
    if start is None or end is None or (start.tzinfo is None) != (end.tzinfo is None):
        return None
    return (end - start).total_seconds()


def words(seconds: float | None) -> str:
    """Return ``seconds`` in words: ``9.7 µs``, ``4 ms``, ``1.25 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if seconds is None or math.isnan(seconds):
        return ""
    if math.isinf(seconds):
        return "∞" if seconds > 0 else "-∞"
    if seconds < 0:
        return f"-{words(-seconds)}"
    return _small(seconds) if seconds < 59.995 else _large(round(seconds))


def _small(seconds: float) -> str:
    # The bounds are where three digits are rounded up to the next unit's 1.
    if seconds >= 0.9995:
        return f"{seconds:.3g} s"
    if seconds >= 0.0009995:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds * 1_000_000:.3g} µs" if seconds else "0 s"


def _large(seconds: int) -> str:
    smaller = {"d": (3600, "h"), "h": (60, "min"), "min": (1, "s")}
    for size, unit in _UNITS:
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            part, name = rest // smaller[unit][0], smaller[unit][1]
            return f"{whole} {unit} {part} {name}" if part else f"{whole} {unit}"
    return f"{seconds} s"
