"""Holds back the last start of a task that may kill its process. For pools whose tasks share one.

The consumer asks before it hands over.

When such a process dies, a start is counted for every task that it ran: which of them has killed it is not known. So
tasks with counted starts are suspects. A suspect whose start is the last that it may have starts only while no other
suspect runs. So a task that kills its process each time comes to its limit alone, and the tasks that ran beside it do
not fail with it. Messages that are delivered for the first time wait for nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .request import Request


def is_suspect(request: Request) -> bool:
    """Tell whether a request ran in a process that died, and the start was counted."""
    return request.message.redelivered and request.message.deliveries > 0


def hold_back(ready: deque[Request], started: Iterable[Request]) -> list[Request]:
    """Remove the requests that must not start now from ``ready``, and return them.

    ``started`` are the requests that run, and those whose start is about to be committed.
    """
    suspects = list(filter(is_suspect, ready))
    if not suspects:
        return []
    allowed = {request.job for request in _allowed(suspects, list(filter(is_suspect, started)))}
    held_back = [request for request in suspects if request.job not in allowed]
    jobs = {request.job for request in held_back}
    others = [request for request in ready if request.job not in jobs]
    ready.clear()
    ready.extend(others)
    return held_back


def _allowed(suspects: list[Request], started: list[Request]) -> list[Request]:
    """Return the suspects that may start beside the suspects that have ``started``."""
    if any(map(_is_at_last_start, started)):
        return []
    with_more_starts = [request for request in suspects if not _is_at_last_start(request)]
    return with_more_starts if with_more_starts or started else suspects[:1]


def _is_at_last_start(request: Request) -> bool:
    """Tell whether the next start of a request is the last that it may have."""
    most = request.max_deliveries
    # A task can get an invalid option after its definition, and fails when it is handed over. So it waits for the
    # others, and fails alone.
    return not isinstance(most, int) or request.starts >= most
