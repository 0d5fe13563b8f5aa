"""Template tags of waiting and running times: ``{% load taskq_times %}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import template

from taskq.histograms import Percentile
from taskq_admin import queries
from taskq_admin.queries import durations

if TYPE_CHECKING:
    from taskq_admin.queries.throughput import Span
    from taskq_admin.queries.times import Times

register = template.Library()


@register.filter
def about(found: Percentile | None) -> str:
    """Return a percentile in words, to two digits: it is read from a histogram, and not known more exactly."""
    if found is None:
        return "-"
    return f"{found.sign} {durations.words(float(f'{found.seconds:.2g}'))}".strip()


@register.inclusion_tag("admin/taskq_admin/times_of_spans.html")
def taskq_times(found: Sequence[tuple[Span, Times]]) -> dict[str, Any]:
    """Show the times of one queue or task, a row for each span."""
    return {"found": found, "shares": list(queries.times.SHARES)}
