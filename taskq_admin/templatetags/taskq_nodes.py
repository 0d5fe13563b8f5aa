"""Template tags and filters of the pages of workers and queues: ``{% load taskq_nodes %}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import template
from django.template import Context
from django.utils.formats import number_format
from django.utils.translation import ngettext

from taskq.models import Worker
from taskq_admin import charts, views

register = template.Library()


@register.filter
def rate(per_minute: float | None) -> str:
    """Return a number of tasks a minute; a dash if it is not known."""
    if per_minute is None:
        return "-"
    return number_format(per_minute, 0 if per_minute >= 10 or per_minute == int(per_minute) else 1)


@register.inclusion_tag("admin/taskq_admin/spark.html")
def spark(minutes: Sequence[int]) -> dict[str, Any]:
    """Draw how many tasks of a queue ended in each minute, and say it in words."""
    words = ngettext(
        "%(total)d task ended in the last hour, at most %(most)d a minute",
        "%(total)d tasks ended in the last hour, at most %(most)d a minute",
        sum(minutes),
    )
    return {
        "path": charts.sparks.spark(minutes),
        "width": charts.sparks.WIDTH,
        "height": charts.sparks.HEIGHT,
        "words": words % {"total": sum(minutes), "most": max(minutes, default=0)},
    }


@register.inclusion_tag("admin/taskq_admin/for_all_workers.html", takes_context=True)
def for_all_workers(context: Context, living: Sequence[Worker]) -> dict[str, Any]:
    """Show the buttons for all workers that live; each leads to a page that asks."""
    return views.buttons.for_all_workers(context["request"], living)
