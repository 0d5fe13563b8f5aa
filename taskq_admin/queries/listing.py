"""What a list says of its tasks besides their rows: what went wrong, and how far a running one is.

Two queries for a page, and none if nothing failed and nothing reports progress.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models.functions import Left

from taskq import states
from taskq.conf import settings
from taskq.messages.fingerprints import described
from taskq.models import Failure, TaskRun

from . import payloads

#: Names under which tasks report how far they are, as Celery's documentation and its users have them.
_DONE = ("current", "done", "completed", "processed", "progress", "percent")
_TOTAL = ("total", "of", "count")
#: What a task counts up to that reports no total.
_WHOLE = {"percent": 100, "progress": 100}
_SILENT = frozenset({states.PENDING, states.RECEIVED, states.SUCCESS, states.REVOKED, states.IGNORED})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running task is: ``done`` of ``total``."""

    done: float
    total: float

    @property
    def percent(self) -> int:
        """The share in percent, 0 to 100."""
        return max(0, min(100, int(self.done * 100 / self.total)))


@dataclass(frozen=True, slots=True)
class Detail:
    """What a list says of one task: the class of its exception, the first line of the message, and its progress.

    ``error`` is the key of the ``Error`` that the failure belongs to, empty for one that is older than these.
    """

    exception: str = ""
    message: str = ""
    error: str = ""
    progress: Progress | None = None


def details(runs: Sequence[TaskRun]) -> dict[int, Detail]:
    """Return what there is to say of these tasks, by the numbers of their rows."""
    failed = [run.pk for run in runs if run.state == states.FAILURE]
    rows = Failure.objects.using(settings.DATABASE).filter(run_id__in=failed) if failed else []
    found = {row.run_id: Detail(row.exception, _first_line(row.message), row.error) for row in rows}
    state_of = {run.pk: run.state for run in runs if run.state not in _SILENT and run.pk not in found}
    if not state_of:
        return found
    cut = TaskRun.objects.using(settings.DATABASE).filter(pk__in=list(state_of), result__isnull=False)
    for pk, text in cut.annotate(cut=Left("result", payloads.LIMIT + 1)).values_list("pk", "cut"):
        found[pk] = _of_error(text) if state_of[pk] in states.EXCEPTION_STATES else Detail(progress=progress(text))
    return found


def progress(text: str | None) -> Progress | None:
    """Read how far a task is from what it has reported by ``update_state``; ``None`` if that says no such thing."""
    numbers = _numbers(text)
    done = next((key for key in _DONE if key in numbers), None)
    if done is None:
        return None
    total = next((numbers[key] for key in _TOTAL if key in numbers), _WHOLE.get(done, 0))
    if done == "progress" and total == 100 and numbers[done] <= 1:
        total = 1
    return Progress(numbers[done], total) if total > 0 and numbers[done] >= 0 else None


def _numbers(text: str | None) -> dict[str, float]:
    try:
        value = json.loads(text or "null") if len(text or "") <= payloads.LIMIT else None
    except (ValueError, RecursionError):
        return {}
    return {key: each for key, each in value.items() if _is_number(each)} if isinstance(value, dict) else {}


def _is_number(value: object) -> bool:
    # JSON has NaN and numbers that no bar can show.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _of_error(text: str) -> Detail:
    found = described(text)
    return Detail(found.exception, _first_line(found.message))


def _first_line(message: str) -> str:
    return next((line for line in message.splitlines() if line.strip()), "").strip()
