"""Times: how long tasks waited and ran, as percentiles, and how many failed, from the statistics of workers.

Histograms are summed first, and percentiles are read from the sums: of a task, of a queue, and of all. The sums of
queues are rows of their own, so that no page adds up all names. Which tasks are the busiest, and which have failed, is
read from hours of names, the newest ``NEWEST`` at most; then the minutes of these few are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.db.models import Case, F, Q, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, Least

from taskq import timezones
from taskq.conf import settings
from taskq.histograms import BUCKETS, Percentile, percentile
from taskq.models import Statistic
from taskq.models.statistic import RAN, WAITED
from taskq.store.reading import together

from .throughput import DAY, HOUR, SPANS, WEEK, Span

#: The shares of the percentiles, and their names.
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
#: Tasks that a page shows at most.
MANY = 10
#: Hours of names that are looked at to find the busiest tasks; and the names that are taken from there.
NEWEST, _CHOSEN = 10_000, 2 * MANY
_COLUMNS = ("succeeded", "failed", "revoked", *WAITED, *RAN)
#: Parts of the last week: the minutes of the last hour; the hours that it is in; those of the last day before them; the
#: one before these, since the 24 hours before the last one are compared with it; and the others.
_HOUR, _NOW, _DAY, _EDGE, _WEEK = range(5)
_PARTS = {HOUR.key: {_HOUR}, DAY.key: {_NOW, _DAY}, WEEK.key: {_NOW, _DAY, _EDGE, _WEEK}}
_BEFORE = {_DAY, _EDGE}


@dataclass(slots=True)
class Times:
    """How often something ended and failed, and the histograms of its waiting and running times."""

    ended: int = 0
    failed: int = 0
    waited: Sequence[int] = (0,) * BUCKETS
    ran: Sequence[int] = (0,) * BUCKETS

    def __add__(self, other: Times) -> Times:
        waited, ran = _plus(self.waited, other.waited), _plus(self.ran, other.ran)
        return Times(self.ended + other.ended, self.failed + other.failed, waited, ran)

    @property
    def waits(self) -> list[Percentile | None]:
        """The percentiles of the waiting times; ``None`` if nothing was started."""
        return [percentile(self.waited, share) for share in SHARES.values()]

    @property
    def runs(self) -> list[Percentile | None]:
        """The percentiles of the running times; ``None`` if nothing ran."""
        return [percentile(self.ran, share) for share in SHARES.values()]


def _plus(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]


@dataclass(frozen=True, slots=True)
class Failing:
    """How many runs of a task failed within the last hour, of how many, and within the 24 hours before."""

    name: str
    failed: int
    ended: int
    failed_before: int = 0
    ended_before: int = 0


@dataclass(slots=True)
class Summary:
    """The times of a span: of all tasks, of the ``MANY`` busiest tasks, and of the busiest queues.

    ``failing`` are the tasks of which runs failed within the last hour, whatever the span is, the most first.
    """

    total: Times
    tasks: list[tuple[str, Times]]
    queues: list[tuple[str, Times]]
    failing: list[Failing]


def summary(span: Span) -> Summary:
    """Return the times of what ended in ``span``, and the tasks that have failed of late."""
    total = Times()
    queues, tasks, recent, before = (cast("dict[str, Times]", defaultdict(Times)) for _ in range(4))
    for _, queue, times in _read(Q(seconds=-span.seconds, period__gte=_since(span)), "queue"):
        queues[queue] += times
        total += times
    busy, failed = _names(span)
    for part, name, times in _read(Q(name__in=busy | failed) & _reaching(span), "name"):
        if part in _PARTS[span.key] and name in busy:
            tasks[name] += times
        if part == _HOUR:
            recent[name] += times
        elif part in _BEFORE:
            before[name] += times
    failing = [
        Failing(name, times.failed, times.ended, before[name].failed, before[name].ended)
        for name, times in recent.items()
        if times.failed
    ]
    failing.sort(key=lambda each: -each.failed)
    return Summary(total, _busiest(tasks), _busiest(queues), failing)


def _busiest(found: dict[str, Times]) -> list[tuple[str, Times]]:
    return sorted(found.items(), key=lambda each: (-each[1].ended, each[0]))[:MANY]


def _names(span: Span) -> tuple[set[str], set[str]]:
    """Return the names of which most ended by the hours of ``span``, and of which most failed of late."""
    ended = _hours(span).annotate(most=Sum(F("succeeded") + F("failed") + F("revoked")))
    failed = _hours(HOUR).filter(failed__gt=0).annotate(most=Sum("failed"))
    found = together(*(rows.order_by("-most").values_list("name", "most")[:_CHOSEN] for rows in (ended, failed)))
    busy, failing = ({name for name, _ in rows} for rows in found)
    return busy, failing


def _hours(span: Span) -> QuerySet[Statistic, Any]:
    """Return the newest hours that ``span`` touches, by name; no more than ``NEWEST`` rows, and the present hour."""
    now = _since(DAY) + (DAY.periods - 1) * DAY.seconds
    first = now - DAY.seconds if span is HOUR else _since(span)
    # Each hour is named: planners take a range of them for most of the table.
    hours = range(first, now + 1, DAY.seconds)
    wanted = Statistic.objects.using(settings.DATABASE).filter(seconds=DAY.seconds, period__in=hours)
    floor = Subquery(wanted.order_by("-period").values("period")[NEWEST : NEWEST + 1])
    whole = Least(Coalesce(floor + 1, Value(0)), Value(now))
    return wanted.filter(period__gte=whole).order_by().values("name")


def of_task(name: str) -> list[tuple[Span, Times]]:
    """Return the times of the runs of a task in each span, without the spans in which none ended."""
    return _by_span(Q(name=name) & _reaching(WEEK)) if name else []


def of_queue(name: str) -> list[tuple[Span, Times]]:
    """Return the times of what ended in a queue in each span, without the spans in which nothing did."""
    return _by_span(Q(name="", queue=name) & _reaching(WEEK, sign=-1))


def _by_span(wanted: Q) -> list[tuple[Span, Times]]:
    found: dict[str, Times] = defaultdict(Times)
    for part, _, times in _read(wanted, "seconds"):
        for span in SPANS:
            if part in _PARTS[span.key]:
                found[span.key] += times
    return [(span, found[span.key]) for span in SPANS if found[span.key].ended]


def _reaching(span: Span, sign: int = 1) -> Q:
    """Return the condition for the minutes of the last hour, and the hours of ``span``, or of a day at least.

    Each minute and hour is named, so that the index leads to those of one name: a range of them has those of all.
    """
    first = _since(WEEK) if span is WEEK else _since(DAY) - DAY.seconds
    minutes = range(_since(HOUR), _since(HOUR) + HOUR.periods * HOUR.seconds, HOUR.seconds)
    hours = range(first, _since(DAY) + DAY.periods * DAY.seconds, DAY.seconds)
    return Q(seconds=sign * HOUR.seconds, period__in=minutes) | Q(seconds=sign * DAY.seconds, period__in=hours)


def _part() -> Case:
    """Return the part of the time that a row belongs to: rows are read once, and are a part of several spans."""
    return Case(
        When(seconds__in=(HOUR.seconds, -HOUR.seconds), then=Value(_HOUR)),
        When(period__gt=_since(HOUR) - DAY.seconds, then=Value(_NOW)),
        When(period__gte=_since(DAY), then=Value(_DAY)),
        When(period__gte=_since(DAY) - DAY.seconds, then=Value(_EDGE)),
        default=Value(_WEEK),
    )


def _since(span: Span) -> int:
    """Return the start of the first period of a span that ends with the present one."""
    now = int(timezones.now().timestamp())
    return now - now % span.seconds - (span.periods - 1) * span.seconds


def _read(wanted: Q, by: str) -> Iterable[tuple[int, str, Times]]:
    rows = Statistic.objects.using(settings.DATABASE).filter(wanted).order_by()
    grouped = rows.annotate(part=_part()).values("part", by)
    summed = grouped.annotate(**{f"sum_{name}": Sum(name) for name in _COLUMNS})
    for part, key, *counts in summed.values_list("part", by, *(f"sum_{name}" for name in _COLUMNS)):
        succeeded, failed, revoked, *buckets = map(int, counts)
        yield part, key, Times(succeeded + failed + revoked, failed, buckets[:BUCKETS], buckets[BUCKETS:])


def data(times: Times) -> dict[str, Any]:
    """Return the times as plain values, in seconds."""
    return {
        "ended": times.ended,
        "waited": _plain(times.waits),
        "ran": _plain(times.runs),
    }


def _plain(found: list[Percentile | None]) -> dict[str, Any]:
    by_share = dict(zip(SHARES, found, strict=True))
    signs = {"<": "less_than", ">": "more_than"}
    return {
        **{key: each and each.seconds for key, each in by_share.items()},
        **{name: [key for key, each in by_share.items() if each and each.sign == sign] for sign, name in signs.items()},
    }


def by_span(found: Iterable[tuple[Span, Times]]) -> dict[str, Any]:
    """Return the times of spans as plain values, by the keys of the spans."""
    return {span.key: data(times) for span, times in found}
