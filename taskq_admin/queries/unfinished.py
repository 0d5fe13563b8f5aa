"""Tasks that have failed like an error, and are to be tried again: they wait for that, or run. Called by ``matching``.

No index has what they raised. So it is read of the newest ``NEWEST`` tasks of each kind that may be meant: those in the
state ``RETRY``, those that workers hold, and those that wait under an id with earlier attempts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.db.models import Exists, OuterRef, QuerySet

from taskq import states
from taskq.conf import settings
from taskq.messages.fingerprints import described, fingerprint
from taskq.models import Attempt, Error, Message, TaskRun

NEWEST = 20_000
#: Tasks whose attempts one statement reads.
_AT_ONCE = 500


def failed_before(error: str, runs: QuerySet[TaskRun]) -> list[int]:
    """Return the numbers of those of ``runs`` that have not ended, and whose last try failed like the error."""
    name = Error.objects.using(settings.DATABASE).filter(key=error).values_list("name", flat=True).first()
    if name is None:
        return []
    held = Message.objects.using(settings.DATABASE).filter(token__gt="").values("task_id")
    tried = Exists(Attempt.objects.filter(task_id=OuterRef("task_id")))
    found: set[int] = set()
    for rows in (
        runs.filter(state=states.RETRY),
        runs.filter(task_id__in=held).exclude(state__in=states.READY_STATES),
        runs.filter(tried, state=states.PENDING),
    ):
        pairs = list(rows.filter(name=name).order_by("-id").values_list("pk", "task_id")[:NEWEST])
        for start in range(0, len(pairs), _AT_ONCE):
            part = dict(pairs[start : start + _AT_ONCE])
            found.update(_alike(error, name, part))
    return sorted(found)


def _alike(error: str, name: str, part: dict[int, str]) -> Iterator[int]:
    last = _last_raised(list(part.values()))
    for pk, task_id in part.items():
        if task_id in last and fingerprint(name, described(last[task_id])) == error:
            yield pk


def _last_raised(task_ids: Sequence[str]) -> dict[str, str | None]:
    """Return what the last attempt of tasks has raised, by id."""
    attempts = Attempt.objects.using(settings.DATABASE).filter(task_id__in=task_ids)
    kept = attempts.filter(state__in=(states.RETRY, states.FAILURE)).order_by("task_id", "id")
    return dict(kept.values_list("task_id", "result"))
