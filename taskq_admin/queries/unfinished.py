"""Tasks that have failed like an error, and are to be tried again: they wait for that, or run. Called by ``matching``.

No index has what they raised. So it is read of the newest ``NEWEST`` tasks of each kind that may be meant: those in the
state ``RETRY``, those that workers hold, and those that wait under an id of one of the newest ``NEWEST`` attempts. That
takes four statements, however many there are.

What belongs to a row is looked up in a column of its own: a planner may make a join of a condition, and read the
backlog for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Case, ExpressionWrapper, OuterRef, QuerySet, Subquery, TextField, When

from taskq import states
from taskq.conf import settings
from taskq.messages.fingerprints import fingerprint, summary
from taskq.models import Attempt, Error, Message, TaskRun

NEWEST = 20_000
#: Rows that are read at once, where the driver does not read all of them itself, as MariaDB's does.
_AT_ONCE = 100
#: The states of attempts that have raised something.
_RAISED = (states.RETRY, states.FAILURE)
#: The number of a task, and what it has raised last; ``None`` for one that is not meant.
_Pair = tuple[int | None, str | None]


def failed_before(error: str, runs: QuerySet[TaskRun]) -> tuple[list[int], bool]:
    """Return the numbers of those of ``runs`` that have not ended, and whose last try failed like the error.

    They are the newest ones, at most ``NEWEST``. Also returned is whether there may be others that were not looked at.
    """
    name = Error.objects.using(settings.DATABASE).filter(key=error).values_list("name", flat=True).first()
    if name is None:
        return [], False
    held = Message.objects.using(settings.DATABASE).filter(token__gt="").values("task_id")
    found: set[int] = set()
    is_cut = False
    for kind in (
        _newest(runs.filter(state=states.RETRY), name),
        _newest(runs.filter(task_id__in=held).exclude(state__in=states.READY_STATES), name),
        _tried(runs.filter(state__unindexed=states.PENDING, name=name)),
    ):
        looked_at = 0
        for number, raised in kind:
            looked_at += 1
            if number is not None and raised and fingerprint(name, summary(raised)) == error:
                found.add(number)
        is_cut |= looked_at == NEWEST
    return sorted(found)[-NEWEST:], is_cut or len(found) > NEWEST


def _newest(runs: QuerySet[TaskRun], name: str) -> Iterator[_Pair]:
    """Yield a pair for each of the newest ``runs``. What they raised is read of those of one task."""
    raised = Attempt.objects.filter(task_id=OuterRef("task_id"), state__in=_RAISED).order_by("-id").values("result")
    rows = runs.order_by("-id").annotate(raised=Case(When(name=name, then=Subquery(raised[:1]))))
    return rows.values_list("pk", "raised")[:NEWEST].iterator(chunk_size=_AT_ONCE)


def _tried(runs: QuerySet[TaskRun]) -> Iterator[_Pair]:
    """Yield a pair for each of the newest attempts, or none for it if the task is none of ``runs``.

    Most tasks that wait have never been tried, and there may be any number of them.
    """
    run = runs.filter(task_id=OuterRef("task_id")).order_by()
    raised = run.annotate(raised=ExpressionWrapper(OuterRef("result"), TextField())).values("raised")
    attempts = Attempt.objects.using(settings.DATABASE).order_by("-id")
    rows = attempts.annotate(number=Subquery(run.values("pk")), raised=Subquery(raised))
    seen: set[int] = set()
    for state, pk, text in rows.values_list("state", "number", "raised")[:NEWEST].iterator(chunk_size=_AT_ONCE):
        is_last = pk is not None and state in _RAISED and pk not in seen
        if is_last:
            seen.add(pk)
        yield (pk, text) if is_last else (None, None)
