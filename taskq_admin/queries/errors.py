"""Errors: failures that are alike, with how many there were in an hour, a day and a week.

Counts are of periods of ten minutes, which are written with the failures: *an hour* begins with the period in which it
began. They count failures, also of runs that were deleted or run again since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q, QuerySet, Sum
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from taskq import timezones
from taskq.conf import settings
from taskq.messages.fingerprints import overflow_fingerprint
from taskq.models import Error, ErrorCount, TaskRun

#: Errors that can be listed by their number.
MOST = 1000
#: Counts, of an error in ten minutes each, that are read for such a list.
MOST_COUNTS = 20_000


@dataclass(frozen=True, slots=True)
class Span:
    """A time up to now in which failures are counted."""

    key: str
    label: str | Promise
    length: timedelta

    @property
    def since(self) -> int:
        """The first period of it, as ``ErrorCount.period``."""
        begun = (timezones.now() - self.length).timestamp()
        return int(begun) // ErrorCount.SECONDS * ErrorCount.SECONDS


SPANS = (
    Span("1h", _("1 h"), timedelta(hours=1)),
    Span("24h", _("24 h"), timedelta(hours=24)),
    Span("7d", _("7 d"), timedelta(days=7)),
)


@dataclass(frozen=True, slots=True)
class Listed:
    """An error with its counts, in the order of ``SPANS``, and the id of the task of its last failure, if it exists."""

    error: Error
    counts: Sequence[int]
    sample: str = ""

    @property
    def is_other(self) -> bool:
        """Whether these are failures that had too many different messages to be told apart."""
        return self.error.key == overflow_fingerprint(self.error.name)


def by_age(name: str = "") -> QuerySet[Error]:
    """Return the errors, of one task if it is named, the last seen first."""
    errors = Error.objects.using(settings.DATABASE).order_by("-last_seen", "key")
    return errors.filter(name=name) if name else errors


def by_number(span: Span) -> list[str]:
    """Return the keys of the errors with the most failures within a span, the most frequent first.

    Of the span the newest ``MOST_COUNTS`` counts are read: messages that are all different are as many errors.
    """
    counted = ErrorCount.objects.using(settings.DATABASE).filter(period__gte=span.since)
    sums: Counter[str] = Counter()
    for key, failures in counted.order_by("-period").values_list("error", "failures")[:MOST_COUNTS]:
        sums[key] += failures
    return sorted(sums, key=lambda key: (-sums[key], key))[:MOST]


def listed(errors: Sequence[Error]) -> list[Listed]:
    """Return errors with their counts and samples, by two queries."""
    if not errors:
        return []
    counts = _counts([error.key for error in errors])
    runs = TaskRun.objects.using(settings.DATABASE).filter(pk__in=[error.last_run for error in errors])
    samples = dict(runs.values_list("pk", "task_id"))
    nothing = [0] * len(SPANS)
    return [
        Listed(error, counts.get(error.key, nothing), samples.get(error.last_run, "")) for error in errors
    ]  # fmt: skip


def _counts(keys: Collection[str]) -> dict[str, list[int]]:
    sums: dict[str, Any] = {
        f"sum{number}": Sum("failures", filter=Q(period__gte=span.since)) for number, span in enumerate(SPANS)
    }
    rows = ErrorCount.objects.using(settings.DATABASE).filter(error__in=keys, period__gte=SPANS[-1].since)
    grouped: Any = rows.order_by().values("error").annotate(**sums)
    return {row["error"]: [row[key] or 0 for key in sums] for row in grouped}
