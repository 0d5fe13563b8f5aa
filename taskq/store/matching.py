"""Finds the messages that are to be revoked by the name of their task, or by their headers. Reads only.

Called by ``taskq.control``. All messages that wait, are scheduled or are held are read, some thousands at a time: the
reader can do other things between two batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from django.db.models import Max, Q, QuerySet

from taskq.messages.protocol import MOST_OUTSIDE
from taskq.models import Message, ScheduledMessage
from taskq.models.fields import Octets

#: So many rows one statement looks at.
_STEP = 5_000


def matching(
    alias: str,
    *,
    name: str = "",
    texts: list[str] | None = None,
    matches: Callable[[str], bool] | None = None,
) -> Iterator[list[str]]:
    """Yield the ids of matching tasks in batches, some of them empty.

    ``name`` is a pattern with ``*``, ``?`` and ``[...]``. ``matches`` is asked about the headers that hold one of
    ``texts``; headers of unusual size are not read.

    A message that moves between schedule and queues meanwhile, because it is due or its task is retried, is found:
    the schedule is read before the queues and after them, and then the new messages of the queues.
    """

    def batches(model: Any, after: int = 0) -> Iterator[list[str]]:
        for part in _parts(model._base_manager.using(alias), after):
            found = part.exclude(task_id="")
            yield _named(found, name) if matches is None else _with_headers(found, texts or [], matches)

    yield from batches(ScheduledMessage)
    newest = _newest(Message, alias)
    yield from batches(Message)
    yield from batches(ScheduledMessage)
    yield from batches(Message, newest)


def _newest(model: Any, alias: str) -> int:
    return model._base_manager.using(alias).aggregate(newest=Max("id"))["newest"] or 0


def _parts(rows: QuerySet[Any], after: int) -> Iterator[QuerySet[Any]]:
    """Yield the rows that are there now, behind the id ``after``, in the order of their ids: some thousands each.

    The next part begins where the last one ended, so gaps between ids cost nothing.
    """
    newest = rows.aggregate(newest=Max("id"))["newest"] or 0
    while after < newest:
        ids = rows.filter(id__gt=after, id__lte=newest).order_by("id").values_list("id", flat=True)
        last = next(iter(ids[_STEP - 1 : _STEP]), newest)
        yield rows.filter(id__gt=after, id__lte=last)
        after = last


def _named(rows: Any, pattern: str) -> list[str]:
    found = rows.order_by("id").values_list("task_id", "name")
    return [task_id for task_id, name in found if fnmatchcase(name, pattern)]


def _with_headers(rows: Any, texts: list[str], matches: Callable[[str], bool]) -> list[str]:
    having = Q()
    for text in texts:
        having |= Q(headers__contains=text)
    small = rows.filter(having).annotate(octets=Octets("headers")).filter(octets__lte=MOST_OUTSIDE)
    found = small.order_by("id").values_list("task_id", "headers")
    return [task_id for task_id, headers in found if matches(headers)]
