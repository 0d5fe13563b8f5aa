"""Finds the tasks that a list is asked for, at a cost that does not grow with the table.

What an index answers is found whatever its age: a tab, an id or its start, the time of sending, an error or the class
of an exception, the group and the root of a workflow. For everything else the newest ``NEWEST`` rows are looked at,
and ``Found`` says so; ``before`` goes on with older ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from inspect import Signature, signature
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Left

from taskq import states
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.models import Failure, Message, Node, ScheduledMessage, TaskRun
from taskq.store.reading import first_since

from . import payloads
from .capped import CappedCount, capped_count
from .tabs import RUNNING, UNFINISHED, Tab, tab_for
from .unfinished import failed_before
from .wanted import Wanted

#: Rows that are looked at where no index answers.
NEWEST = 20_000
#: Of these, rows whose arguments or headers are read.
READ = 2_000
#: An id that begins with fewer characters is not looked for by its start.
_SHORTEST_START = 4
#: What has another way to its tasks; the condition on an id comes on top.
_ELSEWHERE = ("error", "exception", "said", "stamp", "group", "root", "argument")
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: ``rows`` if an index has them in the order of the list, else ``ids``, the newest first.

    ``looked_at`` is how many rows were looked at if there are more, which begin before the row ``older``.
    """

    rows: QuerySet[TaskRun] | None = None
    ids: list[int] = field(default_factory=list)
    looked_at: int | None = None
    older: int | None = None

    @property
    def count(self) -> CappedCount:
        """How many tasks there are."""
        return capped_count(self.rows) if self.rows is not None else CappedCount(len(self.ids), self.older is not None)


def find(wanted: Wanted) -> Found:
    """Return the tasks that a list is asked for."""
    if wanted.unfit:
        return Found()
    tab = tab_for(wanted.tab)
    runs = _runs_between(wanted)
    if (by_start := _by_start(wanted, tab.rows(runs))) is not None:
        return by_start
    conditions = _conditions(wanted, tab)
    if wanted.error and tab is UNFINISHED:
        numbers, is_cut = failed_before(wanted.error, runs)
        found = _all_of(wanted, runs.filter(conditions, pk__in=numbers))
        return replace(found, looked_at=NEWEST) if is_cut else found
    if wanted.error or wanted.exception or wanted.said:
        return _among_failures(wanted, tab.rows(runs), conditions)
    if wanted.stamp:
        return _stamped(wanted, tab.rows(runs).order_by("-id"), conditions)
    known, rest = _of_workflow(wanted, tab.rows(runs))
    if known is not None:
        return _all_of(wanted, known.filter(conditions & rest))
    conditions &= rest
    rows = tab.rows(runs).order_by("-id")
    if not conditions and wanted.argument is None:
        return Found(rows=rows)
    if tab is RUNNING:
        return _all_of(wanted, rows.filter(conditions))
    return _among_newest(wanted, rows, conditions)


def walk(wanted: Wanted, size: int = 1000) -> Iterator[list[str]]:
    """Yield the ids of all tasks that a list is asked for, the newest first, ``size`` at a time, whatever their age.

    For what acts upon them: a task that leaves the list meanwhile is passed over or not, and one that comes is not met.
    """
    while True:
        found = find(wanted)
        ids = found.ids if found.rows is None else list(found.rows.values_list("pk", flat=True)[:NEWEST])
        for start in range(0, len(ids), size):
            rows = TaskRun.objects.using(settings.DATABASE).filter(pk__in=ids[start : start + size])
            yield list(rows.order_by("-id").values_list("task_id", flat=True))
        older = found.older if found.rows is None else (ids[-1] if len(ids) == NEWEST else None)
        if older is None:
            return
        wanted = replace(wanted, before=older)


def _runs_between(wanted: Wanted) -> QuerySet[TaskRun]:
    """Return the runs of a time, which is a range of ids, and before a row."""
    runs = TaskRun.objects.using(settings.DATABASE)
    for moment, lookup in ((wanted.since, "pk__gte"), (wanted.until, "pk__lt")):
        place = None if moment is None else first_since(moment)
        if place is not None:
            runs = runs.filter(**{lookup: place})
    return runs if wanted.before is None else runs.filter(pk__lt=wanted.before)


def _by_start(wanted: Wanted, rows: QuerySet[TaskRun]) -> Found | None:
    """Return the tasks whose ids are, or begin with, what is searched; ``None`` for "look on".

    If so many ids begin with it that to read them takes long, the newest rows have to do: see ``_conditions``.
    """
    text = wanted.id or wanted.words
    if not text or text.startswith(("…", "...")) or any(getattr(wanted, name) for name in _ELSEWHERE):
        return None
    of_id = Q(task_id=text)
    if _is_start(text):
        # The key's index is in the order of bytes; LIKE would not use it on every database.
        of_id = Q(task_id__gte=text, task_id__lt=text + _LAST)
    # Without an order by id: it would have the planner read all rows by their ids.
    every = TaskRun.objects.using(settings.DATABASE).filter(of_id).order_by("task_id")
    if len(every.values_list("task_id")[: NEWEST + 1]) > NEWEST:
        return None
    others = _conditions(replace(wanted, id="", words=""), tab_for(wanted.tab))
    pairs = rows.filter(of_id, others).order_by("task_id").values_list("pk", "task_id")
    ids = sorted((pk for pk, _ in pairs), reverse=True)
    return Found(ids=ids) if ids else None


def _is_start(text: str) -> bool:
    return len(text) >= _SHORTEST_START and text[-1] < _LAST


def _of_id(text: str) -> Q:
    """Return the condition on an id that ends, or begins, with this."""
    end = text.lstrip("….")
    begins = Q(task_id__startswith=text) if end == text and _is_start(text) else Q()
    return Q(task_id__endswith=end) | begins


def _conditions(wanted: Wanted, tab: Tab) -> Q:
    """Return what rows have to meet that no index answers."""
    found = tab.condition or Q()
    for column in ("name", "queue", "worker"):
        if value := getattr(wanted, column):
            found &= Q(**{column: value})
    if wanted.id:
        found &= _of_id(wanted.id)
    if wanted.words:
        end = wanted.words.lstrip("…") if wanted.words.startswith("…") else wanted.words.removeprefix("...")
        found &= _of_id(end) | Q(name__icontains=end)
    return found


def _among_newest(wanted: Wanted, rows: QuerySet[TaskRun], conditions: Q) -> Found:
    floor = _floor(rows)
    seen = rows if floor is None else rows.filter(pk__gte=floor)
    return _read(wanted, seen.filter(conditions), floor)


def _floor(rows: QuerySet[TaskRun]) -> int | None:
    """Return the number of the last row that is looked at, of rows that are in the order of the list."""
    return next(iter(rows.values_list("pk", flat=True)[NEWEST - 1 : NEWEST]), None)


def _among_failures(wanted: Wanted, rows: QuerySet[TaskRun], conditions: Q) -> Found:
    """Look among the failures of an error or a class, by their indexes, or among all; the newest."""
    failures = Failure.objects.using(settings.DATABASE).order_by("-run_id")
    if wanted.before is not None:
        failures = failures.filter(run_id__lt=wanted.before)
    for column in ("error", "exception"):
        if value := getattr(wanted, column):
            failures = failures.filter(**{column: value})
    floor = next(iter(failures.values_list("run_id", flat=True)[NEWEST - 1 : NEWEST]), None)
    seen = failures if floor is None else failures.filter(run_id__gte=floor)
    if wanted.said:
        seen = seen.filter(Q(message__icontains=wanted.said) | Q(exception__icontains=wanted.said))
    failed = rows.filter(conditions, state=states.FAILURE, pk__in=seen.order_by().values("run_id"))
    return _read(wanted, failed.order_by("-id"), floor)


def _of_workflow(wanted: Wanted, rows: QuerySet[TaskRun]) -> tuple[QuerySet[TaskRun] | None, Q]:
    """Return the rows of a group or a root by the nodes of its workflow, or a condition for those without nodes."""
    wished = {f"{kind}_id": value for kind in ("group", "root") if (value := getattr(wanted, kind))}
    if not wished:
        return None, Q()
    nodes = Node.objects.using(settings.DATABASE).filter(**wished)
    if not nodes.exists():
        return None, Q(**wished)
    return rows.filter(task_id__in=nodes.values("task_id")), Q()


def _all_of(wanted: Wanted, rows: QuerySet[TaskRun]) -> Found:
    """Look at all ``rows``: an index has found them, and they are not many."""
    found = _read(wanted, rows.order_by("-id"), None)
    return found if len(found.ids) < NEWEST else replace(found, looked_at=NEWEST, older=found.ids[-1])


def _read(wanted: Wanted, rows: QuerySet[TaskRun], floor: int | None) -> Found:
    """Return the ids of rows, of which some are left out by their arguments. ``floor`` is the last one looked at."""
    looked_at = None if floor is None else NEWEST
    if wanted.argument is None:
        return Found(ids=list(rows.values_list("pk", flat=True)[:NEWEST]), looked_at=looked_at, older=floor)
    name, value = wanted.argument
    possible = rows.filter(_may_have(name, value)).annotate(cut=Left("arguments", payloads.LIMIT + 1))
    read = list(possible.values_list("pk", "name", "cut")[: READ + 1])
    if len(read) > READ:
        read.pop()
        looked_at, floor = READ, read[-1][0]
    ids = [pk for pk, task, text in read if _has(task, text, name, value)]
    return Found(ids=ids, looked_at=looked_at, older=floor)


def _may_have(name: str, value: str) -> Q:
    """Return what the text of arguments contains if one of them has this value: less is read then."""
    shown = Q(arguments__contains=value) if value.isascii() and not {'"', "\\"}.intersection(value) else Q()
    positional = [task for task in tasks if _place(task, name) is not None]
    return shown & (Q(arguments__contains=f'"{name}": ') | Q(name__in=positional))


def _has(task: str, text: str | None, name: str, value: str) -> bool:
    try:
        args, kwargs = json.loads(text or "")
        place = _place(task, name)
        found = kwargs[name] if name in kwargs else args[place] if place is not None else None
        given = name in kwargs or place is not None
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return False
    return given and (found == value or _written(found) == value)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _place(task: str, name: str) -> int | None:
    """Return the position of a parameter of a task that this process knows."""
    known = tasks.get(task)
    parameters = list(_signature(known).parameters) if known is not None else []
    return parameters.index(name) if name in parameters else None


def _signature(task: Any) -> Signature:
    try:
        return signature(task.run)
    except (TypeError, ValueError):
        return Signature()


def _stamped(wanted: Wanted, rows: QuerySet[TaskRun], conditions: Q) -> Found:
    """Look for a stamp in the messages of tasks that have not ended, of the newest ones if there are many.

    A task that has ended has no message, so none of its stamps are known.
    """
    key, _, value = wanted.stamp.partition("=")
    messages = [model._base_manager.using(settings.DATABASE) for model in (Message, ScheduledMessage)]
    are_few = sum(len(each.values_list("pk")[: NEWEST + 1]) for each in messages) <= NEWEST
    floor = None if are_few else _floor(rows)
    if floor is not None:
        rows = rows.filter(pk__gte=floor)
        messages = [each.filter(task_id__in=rows.order_by().values("task_id")) for each in messages]
    ids: set[str] = set()
    for each in messages:
        pairs = each.filter(headers__contains=json.dumps(key)).values_list("task_id", "headers")
        ids.update(task_id for task_id, headers in pairs.iterator() if _has_stamp(headers, key, value))
    return _read(wanted, rows.filter(conditions, task_id__in=ids), floor)


def _has_stamp(headers: str, key: str, value: str) -> bool:
    try:
        found = json.loads(headers)["stamps"][key]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return not value or value in map(_written, found if isinstance(found, list) else [found])
