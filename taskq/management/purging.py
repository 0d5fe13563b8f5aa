"""Purges the queues of a command line: ``taskpurge`` and ``taskworker --purge``. ``control.purging`` purges one."""

from __future__ import annotations

from collections.abc import Iterable

from kombu.entity import Queue

from taskq import control
from taskq.messages.routing import is_broadcast


def purgeable(queues: Iterable[Queue]) -> list[str]:
    """Return the names of the queues that can be purged: all but broadcasts, of which each worker has its own."""
    return sorted(queue.name for queue in queues if not is_broadcast(queue))


def purge(names: Iterable[str]) -> int:
    """Delete the messages that wait in these queues, and revoke their tasks; return how many there were.

    Messages that a worker holds, or that are due later, stay. Raises ``ValueError`` if the broker
    is no database, and the database's errors.
    """
    return sum(map(control.purge_queue, names))
