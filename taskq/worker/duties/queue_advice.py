"""Advice of a worker at its start: names of ``-Q`` that are perhaps misspelt. Runs once, on the store thread."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import ImproperlyConfigured

from taskq.calls import destinations
from taskq.messages import routing
from taskq.store import readers
from taskq.worker import log_lines


def tell_of_unnamed(queues: Iterable[str], alias: str) -> None:
    """Log which of a worker's ``queues`` no setting and no task names, and in which nothing waits."""
    try:
        if not destinations.only_entries():
            return
        named = {*routing.declared(), *(queue for _, queue in destinations.named_queues())}
    except ImproperlyConfigured:
        # A check reports it.
        return
    for queue in sorted(readers.without_messages(set(queues) - named, alias)):
        log_lines.queue_not_named(queue, destinations.nearest(queue, named))
