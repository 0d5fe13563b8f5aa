"""Tasks: the rows of the list, and one task with its attempts and relatives.

Called by ``taskq_admin.admin.runs``. Large columns are left in the database for
lists, and cut by it for the detail page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Case, QuerySet, Subquery, TextField, When
from django.db.models.functions import Coalesce, Left

from taskq import states
from taskq.conf import settings
from taskq.models import Attempt, Message, Rerun, ScheduledMessage, TaskEvent, TaskRun
from taskq.store.reading import together

from . import durations, history, payloads

#: Columns of any length: no list reads them.
LARGE = ("arguments", "result", "traceback", "children")
#: Attempts and children that a page shows at most.
MANY = 100
#: Attempts whose errors a page shows, the newest ones: a database may have to read all of a long text for its start.
FEW = 5
_LONGEST_TYPE = 255
#: Ids of one statement.
_AT_ONCE = 1000
#: The clock of a worker follows the database's, from which the time of a row's creation is, this closely.
_CLOCKS_DIFFER = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class Relative:
    """Another task of the workflow. ``pk`` is ``None`` when it has no row (any more)."""

    task_id: str
    pk: int | None = None
    name: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Relatives:
    """The tasks that a task came from and those that it sent."""

    parent: Relative | None
    root: Relative | None
    children: list[Relative]
    more_children: int = 0


@dataclass(frozen=True, slots=True)
class Reruns:
    """The id of the task that this one runs again, ``by`` whom and why, and the ids of those that run it again."""

    of: str = ""
    by: str = ""
    reason: str = ""
    again: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Contents:
    """The payloads of a task in readable form: arguments, result or exception, traceback."""

    args: payloads.Payload | None
    kwargs: payloads.Payload | None
    result: payloads.Payload | None
    failure: payloads.Failure | None
    traceback: payloads.Payload | None


def never_ran(run: TaskRun) -> bool:
    """Tell whether a task of a workflow failed before it was sent: such a one was never put into a queue."""
    return run.state == states.FAILURE and not run.queue and run.started_at is None


def listed() -> QuerySet[TaskRun]:
    """Return all tasks without their large columns."""
    return TaskRun.objects.using(settings.DATABASE).defer(*LARGE)


def only_listed(rows: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
    """Return ``rows`` without their large columns."""
    return rows.defer(*LARGE)


def waited(run: TaskRun) -> float | None:
    """Return the seconds for which a task was due before it started."""
    due = max(run.created_at, run.eta) if run.eta else run.created_at
    seconds = durations.between(due, run.started_at)
    return None if seconds is None else max(seconds, 0.0)


def shown_state(run: TaskRun) -> str:
    """Return the state, but ``STARTED`` for a task that runs though no state says so (``TASKQ_TRACK_STARTED``)."""
    return states.STARTED if run.state == states.PENDING and run.started_at is not None else run.state


def find(pk: Any) -> TaskRun | None:
    """Return the task in row ``pk``, or ``None``. Its payloads are in ``cut_*`` attributes (see ``contents``)."""
    try:
        number = int(pk)
    except (TypeError, ValueError):
        return None
    # Django turns a number too large for the column into "no row" itself.
    return listed().annotate(**_cut(LARGE)).filter(pk=number).first()


def pk_of(task_id: str) -> int | None:
    """Return the row number of the task with this id, or ``None``, also for an id that no database would take."""
    if "\0" in task_id:
        return None
    return TaskRun.objects.using(settings.DATABASE).filter(task_id=task_id).values_list("pk", flat=True).first()


def whole(task_id: str) -> TaskRun | None:
    """Return the task with this id and all of its arguments, for who runs it again; without its outcome."""
    if "\0" in task_id:
        return None
    rows = TaskRun.objects.using(settings.DATABASE).filter(task_id=task_id)
    return rows.defer("result", "traceback", "children").first()


def states_of(task_ids: Sequence[str]) -> dict[str, str]:
    """Return the states of tasks by id, of those that have rows."""
    found: dict[str, str] = {}
    for start in range(0, len(task_ids), _AT_ONCE):
        rows = TaskRun.objects.using(settings.DATABASE).filter(task_id__in=task_ids[start : start + _AT_ONCE])
        found |= dict(rows.values_list("task_id", "state"))
    return found


def is_known(task_id: str) -> bool:
    """Tell whether a task was sent under this id, and has not been forgotten."""
    return any(
        model._base_manager.using(settings.DATABASE).filter(task_id=task_id).exists()
        for model in (TaskRun, Message, ScheduledMessage)
    )


def named(name: str, task_ids: Sequence[str]) -> set[str]:
    """Return those of ``task_ids`` whose tasks have this name."""
    rows = TaskRun.objects.using(settings.DATABASE).filter(task_id__in=task_ids, name=name)
    return set(rows.values_list("task_id", flat=True))


@dataclass(frozen=True, slots=True)
class Past:
    """What rows of other tables say of a task: its attempts, events, relatives, runs anew, and what ran before it."""

    attempts: list[Attempt]
    events: list[TaskEvent]
    relatives: Relatives
    reruns: Reruns
    earlier: list[history.Earlier]


def past(run: TaskRun, *, with_errors: bool = True) -> Past:
    """Look it up in one statement. ``with_errors`` as in ``attempts``."""
    reruns = Rerun.objects.using(settings.DATABASE).order_by("id")
    tried, events, related, of, again, earlier = together(
        _attempts(run.task_id, with_errors=with_errors),
        _events(run),
        _related(run),
        reruns.filter(task_id=run.task_id)[:1],
        reruns.filter(of_task_id=run.task_id)[:MANY],
        history.rows(run),
    )
    origin = [(row.of_task_id, row.by, row.reason) for row in of] or [("", "", "")]
    return Past(
        sorted(tried, key=lambda row: row.pk),
        sorted(events, key=lambda row: row.pk),
        _relatives(run, related),
        Reruns(*origin[0], again=[row.task_id for row in sorted(again, key=lambda row: row.pk)]),
        history.of(earlier),
    )


def attempts(task_id: str, *, with_errors: bool = True) -> list[Attempt]:
    """Return the attempts that did not settle the task, the newest ``MANY`` of them, in order.

    ``with_errors`` reads what the newest ``FEW`` have raised, cut, for ``attempt_contents``: no other payload.
    """
    return list(_attempts(task_id, with_errors=with_errors))[::-1]


def _attempts(task_id: str, *, with_errors: bool) -> QuerySet[Attempt]:
    rows = Attempt.objects.using(settings.DATABASE).filter(task_id=task_id).defer("result", "traceback")
    if with_errors:
        # The number of the last of them, or none if there are fewer.
        last = Attempt.objects.filter(task_id=task_id).order_by("-id").values("pk")[FEW - 1 : FEW]
        for column in ("result", "traceback"):
            is_new = When(pk__gte=Coalesce(Subquery(last), 0), then=_cut((column,))[f"cut_{column}"])
            rows = rows.annotate(**{f"cut_{column}": Case(is_new, output_field=TextField())})
    return rows.order_by("-id")[:MANY]


def _events(run: TaskRun) -> QuerySet[TaskEvent]:
    """Return what happened to a task while events were on: the last ``MANY``.

    Those of an earlier task with this id are left out: it had ended when the present one was sent.
    """
    rows = TaskEvent.objects.using(settings.DATABASE).filter(task_id=run.task_id)
    # A row that was made at the end of a run says nothing of when its task was sent.
    if run.started_at is None or run.created_at <= run.started_at:
        rows = rows.filter(at__gte=run.created_at - _CLOCKS_DIFFER)
    return rows.order_by("-id")[:MANY]


def attempt_contents(attempts: Sequence[Attempt], space: payloads.Space) -> dict[int, Contents]:
    """Return the payloads of the newest ``FEW`` attempts by their row numbers, as far as there is ``space``."""
    return {row.pk: contents(row, space) for row in reversed(attempts[-FEW:])}


def contents(row: TaskRun | Attempt, space: payloads.Space) -> Contents:
    """Make the payloads of a row from ``find`` or ``attempt_contents`` readable, as far as there is ``space``."""
    result = getattr(row, "cut_result", None)
    error = payloads.failure(result) if row.state in states.EXCEPTION_STATES else None
    args, kwargs = payloads.arguments(getattr(row, "cut_arguments", None))
    value = None if error else payloads.payload(result, getattr(row, "content_type", "application/json"))
    return Contents(
        args=space.fit(args),
        kwargs=space.fit(kwargs),
        result=space.fit(value),
        failure=error and payloads.Failure(error.type[:_LONGEST_TYPE], space.cut(error.message)),
        traceback=space.fit(payloads.payload(getattr(row, "cut_traceback", None), "text/plain")),
    )


def _related(run: TaskRun) -> QuerySet[Any, Any]:
    """Return the ids and rows of the parent, the root and the first children of ``run``."""
    wanted = {run.parent_id, run.root_id, *payloads.child_ids(getattr(run, "cut_children", None))[:MANY]} - {""}
    rows = TaskRun.objects.using(settings.DATABASE).filter(task_id__in=sorted(wanted))
    return rows.values_list("task_id", "pk", "name", "state")


def _relatives(run: TaskRun, rows: Sequence[tuple[str, int, str, str]]) -> Relatives:
    known = {row[0]: Relative(*row) for row in rows}
    children = payloads.child_ids(getattr(run, "cut_children", None))
    shown = children[:MANY]
    # A task is its own root when nothing sent it: no link to itself.
    root_id = run.root_id if run.root_id not in (run.task_id, run.parent_id) else ""
    return Relatives(
        parent=(known.get(run.parent_id) or Relative(run.parent_id)) if run.parent_id else None,
        root=(known.get(root_id) or Relative(root_id)) if root_id else None,
        children=[known.get(task_id) or Relative(task_id) for task_id in shown if task_id],
        more_children=len(children) - len(shown),
    )


def _cut(columns: Iterable[str]) -> dict[str, Left]:
    # One character more than is shown, so that the page can tell that it was cut.
    return {f"cut_{column}": Left(column, payloads.LIMIT + 1) for column in columns}
