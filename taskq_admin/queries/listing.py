"""What a list says of its tasks besides their rows: what went wrong, and how far a running one is.

Two queries for a page, and none if nothing failed and nothing reports progress.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models.functions import Left

from taskq import states
from taskq.conf import settings
from taskq.messages.fingerprints import summary
from taskq.models import Failure, TaskRun

from . import payloads
from .progress import Progress, progress

_SILENT = frozenset({states.PENDING, states.RECEIVED, states.SUCCESS, states.REVOKED, states.IGNORED})


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
        state = state_of[pk]
        found[pk] = _of_error(text) if state in states.EXCEPTION_STATES else Detail(progress=progress(state, text))
    return found


def _of_error(text: str) -> Detail:
    found = summary(text)
    return Detail(found.exception, _first_line(found.message))


def _first_line(message: str) -> str:
    return next((line for line in message.splitlines() if line.strip()), "").strip()
