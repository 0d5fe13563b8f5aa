"""Throughput: how many tasks ended in each minute or hour, from the statistics that workers write.

One statement adds up all queues for the chart, and reads the minutes of the queues that a page shows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from operator import add

from django.db.models import F, Q, Sum
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from taskq import timezones
from taskq.conf import settings
from taskq.models import Statistic
from taskq.store.reading import together

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

    spans: dict[str, list[Period]] = field(default_factory=dict)
    minutes: dict[str, list[int]] = field(default_factory=dict)


def span_for(key: str | None) -> Span:
    """Return the span with ``key``; an unknown one is the last hour."""
    return next((span for span in SPANS if span.key == key), SPANS[0])


def read(spans: Collection[Span] = (), queues: Collection[str] = ()) -> Throughput:
    """Return the periods of ``spans`` up to now, and the minutes of ``queues``, in one statement.

    The periods are added up over all queues. The sum of a queue in a minute is a row, and a page shows few queues.
    """
    now = int(timezones.now().timestamp())
    rows = Statistic.objects.using(settings.DATABASE).order_by()
    wanted = Q(pk__in=())
    for seconds in {span.seconds for span in spans}:
        periods = max(span.periods for span in spans if span.seconds == seconds)
        wanted |= _of_queues(seconds, now // seconds - periods + 1)
    summed = rows.filter(wanted).values("seconds", "period").annotate(*map(Sum, _COUNTED))
    first = now // _MINUTE - HOUR.periods + 1
    minutes = rows.filter(_of_queues(_MINUTE, first), queue__in=queues).annotate(ended=reduce(add, map(F, _COUNTED)))
    sums, ended = together(
        summed.values_list("seconds", "period", *_SUMS), minutes.values_list("period", "queue", "ended")
    )
    found = {(-negative, start // -negative): tuple(map(int, counts)) for negative, start, *counts in sums}
    return Throughput({span.key: _periods(span, now // span.seconds, found) for span in spans}, _by_queue(ended, first))


def _by_queue(ended: Iterable[tuple[int, str, int]], first: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for start, queue, count in ended:
        place = start // _MINUTE - first
        if place < HOUR.periods:
            found.setdefault(queue, [0] * HOUR.periods)[place] += count
    return found


def rate(minutes: Sequence[int]) -> float:
    """Return how many tasks ended each minute, over the last whole minutes."""
    # The present minute is not over, and workers write a few seconds late.
    return sum(minutes[-1 - RATE_MINUTES : -1]) / RATE_MINUTES


def _of_queues(seconds: int, first: int) -> Q:
    """Return the condition on the sums of all names of queues, from a period on."""
    return Q(seconds=-seconds, period__gte=first * seconds)


def _periods(span: Span, last: int, found: Mapping[tuple[int, int], Sequence[int]]) -> list[Period]:
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
