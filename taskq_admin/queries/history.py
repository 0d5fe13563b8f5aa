"""The earlier runs of the same task: a few of those before it, with how long they ran and how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from taskq.conf import settings
from taskq.models import TaskRun
from taskq_admin.badges import short

from . import durations

#: Runs that are shown at most, and rows before a task among which they are looked for: no index has the names.
FEW, NEAR = 20, 5_000
#: The size of the chart, which is stretched to its place.
WIDTH, HEIGHT = 400, 48
_GAP = 4
_LEAST = 2.0


@dataclass(frozen=True, slots=True)
class Earlier:
    """One run, with its column in the chart."""

    pk: int
    state: str
    runtime: float | None
    created_at: Any
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0

    @property
    def kind(self) -> str:
        """The state in small letters, as classes of the style sheet have it."""
        return self.state.lower() if self.state.isalpha() else "other"

    @property
    def title(self) -> str:
        """What the column says."""
        return f"{short(self.state)} {durations.words(self.runtime)}".strip()


def rows(run: TaskRun) -> QuerySet[Any, Any]:
    """Return the last runs of the same name before ``run``, for ``of``."""
    if not run.name:
        return TaskRun.objects.none().values_list()
    near = TaskRun.objects.using(settings.DATABASE).filter(pk__lt=run.pk, pk__gte=run.pk - NEAR)
    # Not by an index of states: a planner may take that for the shorter way, and read all of a state.
    named = near.filter(name=run.name).order_by("-id")
    return named.values_list("pk", "state", "runtime", "created_at")[:FEW]


def of(found: Sequence[tuple[Any, ...]]) -> list[Earlier]:
    """Return what ``rows`` has found, the oldest first, with the columns of the chart."""
    return placed([Earlier(*row) for row in sorted(found)])


def placed(found: Sequence[Earlier]) -> list[Earlier]:
    """Return the runs with their columns, as high as their runtimes beside the longest."""
    longest = max((each.runtime for each in found if each.runtime), default=0.0)
    step = WIDTH / FEW
    return [_placed(each, number * step, step - _GAP, longest) for number, each in enumerate(found)]


def _placed(each: Earlier, x: float, width: float, longest: float) -> Earlier:
    share = each.runtime / longest if each.runtime and longest else 0.0
    height = max(round(share * HEIGHT, 2), _LEAST)
    return Earlier(
        each.pk, each.state, each.runtime, each.created_at, round(x, 2), round(HEIGHT - height, 2), width, height
    )
