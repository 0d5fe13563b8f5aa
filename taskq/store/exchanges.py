"""The queues of messages that go to exchanges. Called when a message is sent or settled, in that transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from taskq.exceptions import QueueNotFound
from taskq.messages.protocol.options import is_storable
from taskq.messages.routing import bound_queues, is_broadcast_exchange
from taskq.records import Envelope

from . import topology

logger = logging.getLogger("taskq")


def resolve(envelopes: Sequence[Envelope], alias: str) -> Sequence[Envelope]:
    """Return the messages with the queues of their exchanges: one copy a queue.

    Raises ``QueueNotFound`` if a message has no queue, so that of many messages all are sent, or none.
    """
    if not any(envelope.exchange for envelope in envelopes):
        return envelopes
    found: list[Envelope] = []
    for envelope in envelopes:
        if not (copies := copies_of(envelope, alias)):
            raise QueueNotFound(f"{envelope.name}: no worker reads the broadcast {envelope.exchange!r} now.")
        found += copies
    return found


def copies_of(envelope: Envelope, alias: str) -> Sequence[Envelope]:
    """Return one message for each queue of its exchange; the first one alone writes the TaskRun."""
    if not envelope.exchange:
        return [envelope]
    queues = _queues_of(envelope, alias)
    return [replace(envelope, queue=queue, tracked=envelope.tracked and not n) for n, queue in enumerate(queues)]


def _queues_of(envelope: Envelope, alias: str) -> list[str]:
    """Return the queues that are bound to the exchange, or else the queue that the sender has named.

    There are none only for a broadcast that no worker reads now.
    """
    exchange, key = envelope.exchange, envelope.routing_key
    if not is_storable(exchange) or (key and not is_storable(key)):
        # No database can even be asked for such names; a message of a foreign sender may have any.
        raise QueueNotFound(f"No queue can be bound to exchange {exchange!r} for {key!r}.")
    targets = topology.route(exchange, key, alias) or ()
    if found := {*bound_queues(exchange, key), *(target.queue for target in targets)}:
        return sorted(found)
    if is_broadcast_exchange(exchange):
        logger.warning("%s is sent to nobody: no worker reads the broadcast %r now.", envelope.name, exchange)
        return []
    if envelope.queue:
        return [envelope.queue]
    raise QueueNotFound(f"No queue is bound to exchange {exchange!r} for {key!r}: declare one in TASKQ_QUEUES.")
