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
    suspects = [request for request in ready if is_suspect(request)]
    if not suspects:
        return []
    running = [request for request in going if is_suspect(request)]
    others = [request for request in suspects if not _is_last(request)]
    if any(map(_is_last, running)):
        may = []
    elif others or running:
        may = others
    else:
        may = suspects[:1]
    allowed = {request.job for request in may}
    back = [request for request in suspects if request.job not in allowed]
    held = {request.job for request in back}
    left = [request for request in ready if request.job not in held]
    ready.clear()
    ready.extend(left)
    return back


def _is_last(request: Request) -> bool:
    most = request.max_deliveries
    # A task can get an invalid option after its definition: it fails when it is handed over.
    return not isinstance(most, int) or request.starts >= most
