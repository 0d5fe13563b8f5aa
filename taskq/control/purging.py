"""Purging queues, for ``taskpurge``, ``taskworker --purge`` and the admin."""

from __future__ import annotations

from collections.abc import Iterable

from kombu.entity import Queue

from taskq.conf import database_broker_alias, masked_url, settings
from taskq.messages.routing import is_broadcast, select
from taskq.store import consuming
from taskq.store.claim import newest

from .revoking import named


def purge_queue(queue: str, limit: int | None = None) -> int:
    """Delete the messages that wait in ``queue``, and revoke their tasks; return how many there were.

    Messages that a worker holds, that are due later, or that come while this runs, stay. With a ``limit`` it ends when
    there were so many, or a few hundred more, and the rest stays. Raises ``ValueError`` if the
    broker is no database or ``queue`` can't be a queue, and the database's errors.
    """
    alias = database_broker_alias()
    if alias is None:
        raise ValueError(f"TASKQ_BROKER_URL: only django:// can be purged, not {masked_url(settings.BROKER_URL)}.")
    return consuming.purge(named("queue", queue), alias, newest(alias), limit)


def purge(queues: Iterable[str] | None = None) -> int:
    """Purge these queues, by default all that the project declares, each as ``purge_queue`` does; return how many.

    A text is the name of one queue.
    """
    if isinstance(queues, str):
        queues = [queues]
    return sum(map(purge_queue, purgeable(select().values()) if queues is None else queues))


def purgeable(queues: Iterable[Queue]) -> list[str]:
    """Return the names of the queues that can be purged: all but broadcasts, of which each worker has its own."""
    return sorted(queue.name for queue in queues if not is_broadcast(queue))


#: Celery's other name.
discard_all = purge
