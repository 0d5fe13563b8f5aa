"""Rate limits as numbers: ``"100/m"`` is 100 starts in a minute. Plain arithmetic, for all rooms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Seconds of each unit.
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
#: Starts per second, at least: one in 30 days.
_LEAST = 1 / (30 * 24 * 3600)
#: What the names of built-in tasks begin with.
_OWN = ("celery.", "taskq.")
WORDS = "a number of starts per second, or text such as '10/s', '100/m' or '2/h'; 0 is no limit"


@dataclass(frozen=True, slots=True)
class Starts:
    """Starts of a task that a worker has taken from the limit of all workers.

    ``count`` starts, the first in ``wait`` seconds and the others at ``rate`` a second, ``None`` for no limit. If
    ``count`` is 0, the worker asks again after ``wait`` seconds.
    """

    count: int
    wait: float
    rate: float | None


def per_second(limit: Any) -> float | None:
    """Return a rate limit as starts per second, ``None`` for no limit (``None``, 0 or an empty text).

    Raises ``TypeError`` or ``ValueError`` for anything that is no rate limit.
    """
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int | float | str):
        raise TypeError(limit)
    number, _, unit = str(limit).strip().partition("/")
    if unit not in (*_UNITS, "") or (not unit and str(limit).endswith("/")):
        raise ValueError(limit)
    rate = float(number or 0) / _UNITS[unit or "s"]
    if rate and not (_LEAST <= rate < math.inf):
        raise ValueError(limit)
    return rate or None


def defined(tasks: Mapping[str, Any]) -> dict[str, float]:
    """Return the rates of those of ``tasks`` that have a limit, by name. taskq's own tasks only take one when asked."""
    found = {name: per_second(task.rate_limit) for name, task in tasks.items() if not name.startswith(_OWN)}
    return {name: rate for name, rate in found.items() if rate}


def shared(tasks: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the rates in the code of those of ``tasks`` whose limit is for all workers, which may have none now."""
    own = {name: task for name, task in tasks.items() if not name.startswith(_OWN)}
    return {name: per_second(t.rate_limit) for name, t in own.items() if t.rate_limit_scope == "cluster"}
