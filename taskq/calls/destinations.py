"""The queues that ``TASKQ_ROUTES`` and tasks name, for advice about wrong names. No router function is called.

Called by the checks, and by a worker for its ``-Q``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from kombu.entity import Queue

from taskq.conf import settings
from taskq.messages import routing

from . import registry


def entries() -> Iterator[routing.RouteEntry]:
    """Yield the entries of ``TASKQ_ROUTES``, also of routes that it names by an import path."""
    for router in routing.make_routers(settings.ROUTES):
        if isinstance(router, routing.PatternRouter):
            yield from router.entries


def only_entries() -> bool:
    """Tell whether ``TASKQ_ROUTES`` has no function, which could return any queue."""
    return all(isinstance(router, routing.PatternRouter) for router in routing.make_routers(settings.ROUTES))


def unmatched() -> list[str]:
    """Return the names and patterns of ``TASKQ_ROUTES`` that match no registered task."""
    return [entry.text for entry in entries() if not any(map(entry.matches, registry.tasks))]


def named_queues() -> Iterator[tuple[str, str]]:
    """Yield pairs: the route or task that names a queue, and the name of the queue."""
    for entry in entries():
        if queue := (entry.route or {}).get("queue"):
            yield f"TASKQ_ROUTES[{entry.text!r}]", _name(queue)
    for name, task in sorted(registry.tasks.items()):
        if queue := getattr(task, "queue", None):
            yield f"the task {name!r}", _name(queue)


def _name(queue: Any) -> str:
    return routing.public_name(queue) if isinstance(queue, Queue) else str(queue)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return which of ``names`` looks most like ``name``, or ``None`` if none does."""
    return next(iter(difflib.get_close_matches(name, sorted(set(names) - {name}), n=1)), None)
