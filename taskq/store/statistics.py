"""Statistics: how tasks ended, added up by minute and by hour. The charts of the admin read these rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from taskq.engines import Engine, for_alias
from taskq.engines.statistics import add_up
from taskq.models import Statistic
from taskq.models.statistic import ENDS, RAN, WAITED

from .transactions import repeated

#: For how long minutes and hours are kept.
KEPT = {60: timedelta(hours=25), 3600: timedelta(days=31)}
#: The counters of one task in one queue, in the order of ``COUNTERS``.
Counters = Sequence[int]
COUNTERS = (*ENDS, *WAITED, *RAN)
#: A minute since 1970, a task's name and a queue.
Key = tuple[int, str, str]
_KEYS = ("seconds", "period", "name", "queue")


def add(counted: Mapping[Key, Counters], alias: str) -> None:
    """Add what was counted to the rows of its minutes and hours, in one transaction."""
    engine = for_alias(alias)
    sums: dict[tuple[int, int, str, str], list[int]] = {}
    for (minute, name, queue), counters in counted.items():
        for seconds in KEPT:
            period = minute * 60 // seconds * seconds
            # Beside the row of the name that of its queue: pages read sums, however many names there are.
            for key in ((seconds, period, name, queue), (-seconds, period, "", queue)):
                found = sums.setdefault(key, [0] * len(COUNTERS))
                found[:] = map(int.__add__, found, counters)
    # In one order, so that two workers never wait for each other.
    rows = [(*key, *counters) for key, counters in sorted(sums.items())]
    repeated(engine, partial(_add, engine, rows), locked=False)


def _add(engine: Engine, rows: Sequence[Sequence[Any]]) -> None:
    with engine.atomic():
        add_up(engine, Statistic._meta.db_table, _KEYS, COUNTERS, rows)


def expire(limit: int, alias: str) -> Iterator[int]:
    """Delete rows over age, ``limit`` at a time; yield how many."""
    now = for_alias(alias).now()
    for seconds, kept in KEPT.items():
        for kind in (seconds, -seconds):
            rows = Statistic.objects.using(alias).filter(seconds=kind, period__lt=now - kept.total_seconds())
            while ids := list(rows.order_by("period").values_list("id", flat=True)[:limit]):
                yield Statistic.objects.using(alias).filter(id__in=ids)._raw_delete(alias)
