"""Which requests wait for others, in a pool whose slots share a process. The consumer asks before it hands over.

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


def hold_back(ready: deque[Request], going: Iterable[Request]) -> list[Request]:
    """Remove the requests from ``ready`` that must not start beside those that are ``going`` on, and return them."""
    suspects = list(filter(is_suspect, ready))
    if not suspects:
        return []
    may = {request.job for request in _that_may(suspects, list(filter(is_suspect, going)))}
    back = [request for request in suspects if request.job not in may]
    held = {request.job for request in back}
    left = [request for request in ready if request.job not in held]
    ready.clear()
    ready.extend(left)
    return back


def _that_may(suspects: list[Request], running: list[Request]) -> list[Request]:
    """Return the suspects that may start beside those that run."""
    if any(map(_is_last, running)):
        return []
    others = [request for request in suspects if not _is_last(request)]
    return others if others or running else suspects[:1]


def _is_last(request: Request) -> bool:
    most = request.max_deliveries
    # A task can get an invalid option after its definition, and fails when it is handed over. So it waits for the
    # others, and fails alone.
    return not isinstance(most, int) or request.starts >= most
