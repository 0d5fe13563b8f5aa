"""Finds the messages that are to be revoked by the name of their task, or by their headers. Reads only.

Called by ``taskq.control``. All messages that wait, are scheduled or are held are read, a range of ids at a time: the
reader can do other things between two batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from django.db.models import Max, Min, Q

from taskq.messages.protocol import MOST_OUTSIDE
from taskq.models import Message, ScheduledMessage
from taskq.models.fields import Octets

#: So many ids one statement looks at.
_RANGE = 5_000


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
    """
    for model in (Message, ScheduledMessage):
        rows = model._base_manager.using(alias).exclude(task_id="")
        ends = rows.aggregate(Min("id"), Max("id"))
        first, last = ends["id__min"], ends["id__max"]
        while first is not None and first <= last:
            part = rows.filter(id__gte=first, id__lt=first + _RANGE)
            yield _named(part, name) if matches is None else _with_headers(part, texts or [], matches)
            first += _RANGE


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
