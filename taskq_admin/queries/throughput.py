"""Throughput: how many tasks ended in each minute or hour, from the statistics that workers write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import Sum
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from taskq import timezones
from taskq.conf import settings
from taskq.models import Statistic

#: The columns that are summed, in the order of ``Period``, and the names of their sums.
_COUNTED = ("succeeded", "failed", "retried", "revoked")
_SUMS = [f"{name}__sum" for name in _COUNTED]


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time: ``periods`` minutes or hours, which have ``seconds``."""

    key: str
    label: str | Promise
    seconds: int
    periods: int


SPANS = (
    Span("hour", _("60 minutes"), 60, 60),
    Span("day", _("24 hours"), 3600, 24),
    Span("week", _("7 days"), 3600, 7 * 24),
)


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


def span_for(key: str | None) -> Span:
    """Return the span with ``key``; an unknown one is the last hour."""
    return next((span for span in SPANS if span.key == key), SPANS[0])


def periods(span: Span) -> list[Period]:
    """Return all periods of a span up to now, the earliest first; also those in which nothing ended."""
    last = int(timezones.now().timestamp()) // span.seconds
    first = last - span.periods + 1
    rows = Statistic.objects.using(settings.DATABASE).filter(
        seconds=span.seconds, period__gte=first * span.seconds, period__lte=last * span.seconds
    )
    sums = rows.order_by("period").values("period").annotate(*map(Sum, _COUNTED))
    found = {start // span.seconds: tuple(map(int, counts)) for start, *counts in sums.values_list("period", *_SUMS)}
    return [
        Period(datetime.fromtimestamp(number * span.seconds, UTC), *found.get(number, ()))
        for number in range(first, last + 1)
    ]
