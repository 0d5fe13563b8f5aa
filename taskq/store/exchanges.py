"""Exchanges: the queues to which they lead, as AMQP 0-9-1 says (sections 3.1.3 and 4.5 for topics).

Called when a message is sent or settled, in that transaction, and by the transport.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.db.models import OuterRef, Q, Subquery

from taskq.engines import for_alias
from taskq.exceptions import QueueNotFound
from taskq.messages.protocol.options import is_storable
from taskq.messages.routing import bound_queues, is_broadcast_exchange
from taskq.messages.routing.topics import topic_matches
from taskq.models import Binding, Exchange, Queue
from taskq.records import Envelope

from . import log_lines

#: The supported types of exchange.
EXCHANGE_TYPES = frozenset({"direct", "topic", "fanout"})
#: Exchanges that exist without being declared.
_PREDECLARED = {f"amq.{kind}": kind for kind in EXCHANGE_TYPES}


@dataclass(frozen=True, slots=True)
class Target:
    """A queue that a message goes to, and the seconds after which the message expires there."""

    queue: str
    message_ttl: float | None = None


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
    targets = route(exchange, key, alias) or ()
    if found := {*bound_queues(exchange, key), *(target.queue for target in targets)}:
        return sorted(found)
    if is_broadcast_exchange(exchange):
        log_lines.broadcast_unread(envelope.name, exchange)
        return []
    if envelope.queue:
        return [envelope.queue]
    raise QueueNotFound(f"No queue is bound to exchange {exchange!r} for {key!r}: declare one in TASKQ_QUEUES.")


# -- where a message goes


def route(exchange: str, routing_key: str, alias: str) -> list[Target] | None:
    """Return the queues that a message to ``exchange`` goes to, or ``None`` if the exchange does not exist.

    The exchange without a name (AMQP's default exchange) routes to the queue named ``routing_key``, declared or not.
    """
    names = {routing_key} if not exchange else _bound(exchange, routing_key, alias)
    if not names:
        return [] if exchange_exists(exchange, alias) else None
    return _targets(exchange, names, alias)


def has_queue(exchange: str, alias: str) -> bool:
    """Tell whether any queue is bound to ``exchange``, for whatever messages. One statement if none is."""
    names = set(Binding.objects.using(alias).filter(exchange=exchange).values_list("queue", flat=True))
    return bool(names and _targets(exchange, names, alias))


def _targets(exchange: str, names: set[str], alias: str) -> list[Target]:
    special = Queue.objects.using(alias).filter(name__in=sorted(names))
    special = special.filter(Q(message_ttl__isnull=False) | Q(expires__isnull=False))
    rows = special.only("name", "message_ttl", "expires", "used_at")
    declared = {queue.name: queue for queue in rows}
    # Through the default exchange, an expired queue still gets the message: no other queue could.
    gone = expired(declared.values(), alias) if exchange else set()
    return [Target(name, declared[name].message_ttl if name in declared else None) for name in sorted(names - gone)]


def _bound(exchange: str, routing_key: str, alias: str) -> set[str]:
    kind = Exchange.objects.filter(name=OuterRef("exchange")).values("type")
    rows = (
        Binding.objects.using(alias)
        .filter(exchange=exchange)
        .annotate(kind=Subquery(kind[:1]))
        .filter(Q(routing_key=routing_key) | ~Q(kind="direct"))
        .values_list("kind", "routing_key", "queue")
    )
    return {
        queue for kind, pattern, queue in rows if _matches(kind or _PREDECLARED.get(exchange, ""), pattern, routing_key)
    }


def _matches(kind: str, pattern: str, routing_key: str) -> bool:
    if kind == "topic":
        return topic_matches(pattern, routing_key)
    return kind == "fanout" or pattern == routing_key


def exchange_exists(name: str, alias: str) -> bool:
    """Tell whether the exchange was declared, or is predeclared."""
    return name in _PREDECLARED or Exchange.objects.using(alias).filter(name=name).exists()


def expired(queues: Iterable[Queue], alias: str) -> set[str]:
    """Return the names of the queues that were not used for their ``expires`` seconds."""
    ends = {q.name: q.used_at.timestamp() + q.expires for q in queues if q.expires is not None and q.used_at}
    now = for_alias(alias).now() if ends else 0.0
    return {name for name, end in ends.items() if end <= now}
