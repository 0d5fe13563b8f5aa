"""Tasks that have failed like an error, and are to be tried again: they wait for that, or run. Called by ``matching``.

No index has what they raised. So it is read of the newest ``NEWEST`` tasks of each kind that may be meant: those in the
state ``RETRY``, those that workers hold, and those that wait under an id of one of the newest ``NEWEST`` attempts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.db.models import QuerySet

from taskq import states
from taskq.conf import settings
from taskq.messages.fingerprints import described, fingerprint
from taskq.models import Attempt, Error, Message, TaskRun

NEWEST = 20_000
#: Tasks that one statement looks up by their ids, and those whose attempts one reads.
_LOOKED_UP, _AT_ONCE = 500, 100


def failed_before(error: str, runs: QuerySet[TaskRun]) -> tuple[list[int], bool]:
    """Return the numbers of those of ``runs`` that have not ended, and whose last try failed like the error.

    They are the newest ones, at most ``NEWEST``. Also returned is whether there may be others that were not looked at.
    """
    name = Error.objects.using(settings.DATABASE).filter(key=error).values_list("name", flat=True).first()
    if name is None:
        return [], False
    held = Message.objects.using(settings.DATABASE).filter(token__gt="").values("task_id")
    attempts = Attempt.objects.using(settings.DATABASE).order_by("-id").values_list("task_id", flat=True)
    tried = list(attempts[:NEWEST])
    found: set[int] = set()
    is_cut = len(tried) == NEWEST
    for rows in (
        _newest(runs.filter(state=states.RETRY)),
        _newest(runs.filter(task_id__in=held).exclude(state__in=states.READY_STATES)),
        _of_ids(runs.filter(state=states.PENDING), list(dict.fromkeys(tried))),
    ):
        is_cut |= len(rows) == NEWEST
        pairs = [(pk, task_id) for pk, task_id, of in rows if of == name]
        for start in range(0, len(pairs), _AT_ONCE):
            found.update(_alike(error, name, dict(pairs[start : start + _AT_ONCE])))
    return sorted(found)[-NEWEST:], is_cut or len(found) > NEWEST


def _newest(runs: QuerySet[TaskRun]) -> list[tuple[int, str, str]]:
    return list(runs.order_by("-id").values_list("pk", "task_id", "name")[:NEWEST])


def _of_ids(runs: QuerySet[TaskRun], task_ids: Sequence[str]) -> list[tuple[int, str, str]]:
    """Look tasks up by their ids: most that wait have never been tried, and there may be any number of them."""
    return [
        row
        for start in range(0, len(task_ids), _LOOKED_UP)
        for row in runs.filter(task_id__in=task_ids[start : start + _LOOKED_UP]).values_list("pk", "task_id", "name")
    ]


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
