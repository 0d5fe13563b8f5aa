"""Throughput: how many tasks ended in each minute or hour, from the statistics that workers write.

One statement adds up for the chart and for all queues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db.models import Case, CharField, F, Q, Sum, Value, When
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from taskq import timezones
from taskq.conf import settings
from taskq.models import Statistic

#: The columns that are summed, in the order of ``Period``, and the names of their sums.
_COUNTED = ("succeeded", "failed", "retried", "revoked")
_SUMS = [f"{name}__sum" for name in _COUNTED]
_MINUTE, _HOUR = 60, 3600
#: Minutes of which a queue's rate is the mean.
RATE_MINUTES = 5
#: Names that are suggested at most.
MANY_NAMES = 1_000


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time: ``periods`` minutes or hours, which have ``seconds``."""

    key: str
    label: str | Promise
    seconds: int
    periods: int


SPANS = (
    Span("hour", _("60 minutes"), _MINUTE, 60),
    Span("day", _("24 hours"), _HOUR, 24),
    Span("week", _("7 days"), _HOUR, 7 * 24),
)
HOUR, DAY, WEEK = SPANS


@dataclass(frozen=True, slots=True)
class Period:
    """What ended from ``start`` on."""

    start: datetime
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    revoked: int = 0

    @property
    def total(self) -> int:
        """How many tasks ended, each once: a retry is no end."""
        return self.succeeded + self.failed + self.revoked


@dataclass(frozen=True, slots=True)
class Throughput:
    """The periods of each span up to now, and how many tasks each queue gave out in each minute of the last hour."""

    spans: dict[str, list[Period]]
    queues: dict[str, list[int]] = field(default_factory=dict)

    def rate(self, queue: str) -> float:
        """Return how many tasks of a queue ended each minute, over the last whole minutes."""
        # The present minute is not over, and workers write a few seconds late.
        minutes = self.queues.get(queue, [])[-1 - RATE_MINUTES : -1]
        return sum(minutes) / RATE_MINUTES


def span_for(key: str | None) -> Span:
    """Return the span with ``key``; an unknown one is the last hour."""
    return next((span for span in SPANS if span.key == key), SPANS[0])


def read(spans: Sequence[Span]) -> Throughput:
    """Return the periods of ``spans``, and what the queues gave out in the last hour, in one statement."""
    last = {seconds: int(timezones.now().timestamp()) // seconds for seconds in (_MINUTE, _HOUR)}
    hours = max((span.periods for span in spans if span.seconds == _HOUR), default=0)
    since = {_MINUTE: last[_MINUTE] - HOUR.periods + 1, _HOUR: last[_HOUR] - hours + 1}
    by_period: dict[tuple[int, int], list[int]] = {}
    queues: dict[str, list[int]] = {}
    for negative, start, queue, *counts in _sums(since):
        seconds = -negative
        number = start // seconds
        found = by_period.setdefault((seconds, number), [0] * len(_COUNTED))
        found[:] = map(int.__add__, found, map(int, counts))
        place = number - since[_MINUTE]
        if seconds == _MINUTE and place < HOUR.periods:
            queues.setdefault(queue, [0] * HOUR.periods)[place] += int(sum(counts))
    return Throughput({span.key: _periods(span, last[span.seconds], by_period) for span in spans}, queues)


def _sums(since: dict[int, int]) -> Sequence[tuple[int, int, str, int, int, int, int]]:
    wanted = Q()
    for seconds, first in since.items():
        wanted |= Q(seconds=-seconds, period__gte=first * seconds)  # the sums of all names
    rows = Statistic.objects.using(settings.DATABASE).filter(wanted).order_by()
    # Only minutes are told apart by queue: there are 60 of them, and hours of a whole week.
    place = Case(When(seconds=-_MINUTE, then=F("queue")), default=Value(""), output_field=CharField())
    summed = rows.annotate(place=place).values("seconds", "period", "place").annotate(*map(Sum, _COUNTED))
    return list(summed.values_list("seconds", "period", "place", *_SUMS))


def _periods(span: Span, last: int, found: dict[tuple[int, int], list[int]]) -> list[Period]:
    return [
        Period(datetime.fromtimestamp(number * span.seconds, UTC), *found.get((span.seconds, number), ()))
        for number in range(last - span.periods + 1, last + 1)
    ]


def names() -> list[str]:
    """Return the names of tasks that ended within this hour and the one before, ``MANY_NAMES`` at most."""
    now = int(timezones.now().timestamp())
    rows = Statistic.objects.using(settings.DATABASE).filter(seconds=_HOUR, period__gte=now - now % _HOUR - _HOUR)
    found = rows.exclude(name="").order_by("name").values_list("name", flat=True).distinct()
    return list(found[:MANY_NAMES])
