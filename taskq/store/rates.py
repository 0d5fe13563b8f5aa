"""Rates: workers take starts of a task whose limit is for all of them, some at a time, from one row.

The row knows when the next start is free. A worker that takes starts moves that on, so no two workers have the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from taskq import clock
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import RateLimit
from taskq.rates import Starts

from .enqueue import wake

#: Among the names of queues in a notification: rate limits have changed.
RATES_NAME = "\x1frates"
#: So many seconds' starts are taken at a time.
_BATCH = 0.2
#: Seconds by which the first of them may be ahead: a later change has to reach all workers soon.
_AHEAD = 1.0
#: Seconds after which a worker asks again at the latest.
_LONGEST = 5.0
#: Seconds after which it asks again where somebody else has locked the row: its other claims do not wait for that.
_LOCKED = 0.05
#: How many starts a worker takes at a time while there is no limit.
_UNLIMITED = 1000


def take(task: str, rate: float | None, late: float, alias: str | None = None) -> Starts:
    """Take starts of ``task`` for one worker, in one transaction on one row.

    ``rate`` is the limit of the definition, in starts per second. Unused starts of the last ``late`` seconds are among
    them.
    """
    engine = for_alias(alias or settings.DATABASE)
    rows = RateLimit.objects.using(engine.alias)
    free = rows.select_for_update(skip_locked=engine.skip_locked).filter(name=task)
    with engine.atomic():
        row = free.first()
        if row is None and not rows.filter(name=task).exists():
            rows.bulk_create([RateLimit(name=task)], ignore_conflicts=True)
            row = free.first()
        if row is None:
            return Starts(0, _LOCKED, rate)
        rate, now = rate if row.rate is None else row.rate, clock.now()
        if not rate:
            return Starts(_UNLIMITED, 0.0, None)
        count = max(1, int(rate * _BATCH))
        # A row can only be further ahead by a lower rate than this, or by a clock that has stepped back.
        latest = now + count / rate + _AHEAD
        first = max(min(row.free_at, latest), now - late)
        if first - now > _AHEAD:
            if row.free_at > latest:
                rows.filter(name=task).update(free_at=latest)
            return Starts(0, min(first - now - _AHEAD / 2, _LONGEST), rate)
        rows.filter(name=task).update(free_at=first + count / rate)
    return Starts(count, first - now, rate)


def current(defined: Mapping[str, float | None], alias: str | None = None) -> dict[str, float | None]:
    """Return the present limits of tasks, starts per second or ``None``; ``defined`` has those of the code."""
    rows = RateLimit.objects.using(alias or settings.DATABASE).values_list("name", "rate")
    written = {name: rate or None for name, rate in rows if rate is not None}
    return {name: written.get(name, rate) for name, rate in defined.items()}


def set_rate(task: str, rate: float | None, alias: str | None = None) -> None:
    """Set the limit of ``task`` for all workers, also for those that start later; ``None`` is no limit."""
    engine = for_alias(alias or settings.DATABASE)
    with engine.atomic():
        RateLimit.objects.using(engine.alias).bulk_create(
            [RateLimit(name=task, rate=rate or 0.0, free_at=clock.now())],
            update_conflicts=True,
            unique_fields=["name"] if engine.connection.features.supports_update_conflicts_with_target else None,
            update_fields=["rate", "free_at"],
        )
        wake(engine, {RATES_NAME})
