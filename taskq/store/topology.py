"""Topology: queues, exchanges and bindings are declared and deleted, and messages routed to queues.

Called by ``taskq.transport``, and by workers for the queues that a sender can't find by name; most tasks need none of
it. Exchanges work as AMQP 0-9-1 says (sections 3.1.3 and 4.5 for topics). A queue that was not used for its ``expires``
seconds counts as deleted at once; ``sweep`` deletes its rows later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models import Max, QuerySet

from taskq.engines import for_alias
from taskq.models import Binding, Exchange, Message, Queue

from .consuming import purge
from .exchanges import expired

#: Seconds without use after which an exclusive or auto-delete queue expires, if it sets no ``x-expires``.
FORGOTTEN_AFTER = 86400.0


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """The options of a queue; ``expires`` and ``message_ttl`` are in seconds."""

    durable: bool = True
    auto_delete: bool = False
    expires: float | None = None
    message_ttl: float | None = None
    arguments: str = "{}"


class Declared(NamedTuple):
    """The effect of a declaration: it has ``made`` the queue, or these options of the existing queue are different."""

    made: bool
    different: list[str]


# -- queues


def queue_options(
    *,
    durable: bool = False,
    exclusive: bool = False,
    auto_delete: bool = False,
    arguments: Mapping[str, Any] | None = None,
    **others: Any,
) -> QueueOptions:
    """Return the options of AMQP's ``queue.declare``, with its arguments' milliseconds as seconds."""
    arguments = dict(arguments or {})
    expires, ttl = (arguments.get(f"x-{name}") for name in ("expires", "message-ttl"))
    # If the process of such a queue dies, the queue must not fill up for ever.
    unused = FORGOTTEN_AFTER if exclusive or auto_delete else None
    return QueueOptions(
        durable=durable,
        auto_delete=auto_delete,
        expires=unused if expires is None else expires / 1000,
        message_ttl=None if ttl is None else ttl / 1000,
        arguments=json.dumps(arguments, sort_keys=True),
    )


def declare_queue(name: str, options: QueueOptions, alias: str) -> Declared:
    """Insert the queue if it does not exist; else compare the options with those of the existing queue."""
    found = Queue.objects.using(alias).filter(name=name).first()
    made = None
    if found is None or (expired([found], alias) and _expire(found, alias)):
        made = Queue(name=name, used_at=for_alias(alias).now_expression(), **_columns(options))
        Queue.objects.using(alias).bulk_create([made], ignore_conflicts=True)
        found = Queue.objects.using(alias).get(name=name)
    if found.expires is not None and made is None:
        touch([name], alias)
    different = [option for option, value in _columns(options).items() if getattr(found, option) != value]
    return Declared(made is not None, different)


def _columns(options: QueueOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in QueueOptions.__slots__}


def queue_exists(name: str, alias: str) -> bool:
    """Tell whether the queue was declared, or has messages: the queues of tasks need no declaration."""
    found = Queue.objects.using(alias).filter(name=name).first()
    if found is not None:
        return not expired([found], alias)
    return Message.objects.using(alias).filter(token="", queue=name).exists()


def delete_queue(name: str, alias: str) -> int:
    """Delete the queue, its bindings and its waiting messages; return how many messages they were.

    Messages that a consumer holds stay.
    """
    newest = _newest(alias)
    _delete(Queue.objects.using(alias).filter(name=name), name, alias)
    return purge(name, alias, newest)


def _newest(alias: str) -> int:
    """Return the id of the last message: later messages belong to a new queue of the same name."""
    return Message.objects.using(alias).aggregate(newest=Max("id"))["newest"] or 0


def _delete(row: QuerySet[Queue], name: str, alias: str) -> bool:
    """Delete the ``row`` of a queue and its bindings; tell whether the row existed."""
    # The row first: its lock keeps a new declaration of the queue from being bound before this is done.
    with for_alias(alias).atomic():
        gone = bool(row.delete()[0])
        if gone:
            Binding.objects.using(alias).filter(queue=name).delete()
    return gone


def is_auto_delete(name: str, alias: str) -> bool:
    """Tell whether the queue is to be deleted with its last consumer."""
    return Queue.objects.using(alias).filter(name=name, auto_delete=True).exists()


def touch(names: Iterable[str], alias: str) -> int:
    """Set the last use of those queues that expire without use to now; return how many they are."""
    used = Queue.objects.using(alias).filter(name__in=list(names), expires__isnull=False)
    return used.update(used_at=for_alias(alias).now_expression())


def expiries(names: Iterable[str], alias: str) -> dict[str, float]:
    """Return the ``expires`` of those of the queues that expire without use, in seconds by name."""
    expiring = Queue.objects.using(alias).filter(name__in=list(names), expires__isnull=False)
    return {name: seconds for name, seconds in expiring.values_list("name", "expires") if seconds is not None}


def sweep(alias: str) -> list[str]:
    """Delete the queues that have expired; return their names."""
    rows = list(Queue.objects.using(alias).filter(expires__isnull=False))
    over = expired(rows, alias)
    return [row.name for row in rows if row.name in over and _expire(row, alias)]


def _expire(queue: Queue, alias: str) -> bool:
    """Delete an expired queue, unless it was used since its row was read; tell whether it was deleted."""
    newest = _newest(alias)
    gone = _delete(Queue.objects.using(alias).filter(name=queue.name, used_at=queue.used_at), queue.name, alias)
    if gone:
        # After that transaction, in short ones: there may be millions of messages.
        purge(queue.name, alias, newest)
    return gone


# -- exchanges and bindings


def declare_exchange(
    name: str, kind: str, *, durable: bool, auto_delete: bool, arguments: Mapping[str, Any] | None, alias: str
) -> list[str]:
    """Insert the exchange if it does not exist; return the options that differ from the existing exchange's."""
    options = {
        "type": kind,
        "durable": durable,
        "auto_delete": auto_delete,
        "arguments": json.dumps(arguments or {}, sort_keys=True),
    }
    exchanges = Exchange.objects.using(alias)
    found = exchanges.filter(name=name).first()
    if found is None:
        exchanges.bulk_create([Exchange(name=name, **options)], ignore_conflicts=True)
        found = exchanges.get(name=name)
    return [option for option, value in options.items() if getattr(found, option) != value]


def delete_exchange(name: str, alias: str) -> None:
    """Delete the exchange and its bindings; the queues stay."""
    Exchange.objects.using(alias).filter(name=name).delete()
    Binding.objects.using(alias).filter(exchange=name).delete()


def has_bindings(exchange: str, alias: str) -> bool:
    """Tell whether a queue is bound to the exchange."""
    return Binding.objects.using(alias).filter(exchange=exchange).exists()


def bind(queue: str, exchange: str, routing_key: str, alias: str) -> None:
    """Bind the queue, unless it is bound already."""
    made = Binding(queue=queue, exchange=exchange, routing_key=routing_key)
    if not _same_as(made, alias).exists():
        Binding.objects.using(alias).bulk_create([made], ignore_conflicts=True)


def unbind(queue: str, exchange: str, routing_key: str, alias: str) -> None:
    """Delete the binding, if it exists."""
    _same_as(Binding(queue=queue, exchange=exchange, routing_key=routing_key), alias).delete()


def _same_as(binding: Binding, alias: str) -> Any:
    return Binding.objects.using(alias).filter(
        queue=binding.queue, exchange=binding.exchange, routing_key=binding.routing_key
    )


def exchanges(alias: str) -> list[str]:
    """Return the names of the declared exchanges."""
    return list(Exchange.objects.using(alias).order_by("name").values_list("name", flat=True))


def bindings(alias: str, exchange: str | None = None) -> list[tuple[str, str, str]]:
    """Return all bindings, or those of one exchange, as (queue, exchange, routing key)."""
    rows = Binding.objects.using(alias).order_by("id")
    if exchange is not None:
        rows = rows.filter(exchange=exchange)
    return list(rows.values_list("queue", "exchange", "routing_key"))
