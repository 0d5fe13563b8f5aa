"""Routing: finds the queue of a message, or an exchange with a routing key. Declares nothing.

The first of these decides: the options of the call, ``TASKQ_ROUTES``, the task's own queue, ``TASKQ_DEFAULT_QUEUE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.signals import setting_changed
from kombu.entity import Exchange, Queue

from taskq.conf import settings
from taskq.messages.protocol.options import check_name, plain

from .queues import (
    bindings_of,
    bound_queues,
    declared,
    is_broadcast,
    is_broadcast_exchange,
    public_name,
    queue,
    queues,
    refuse_missing,
    select,
    with_defaults,
    worker_direct,
)
from .routers import Options, PatternRouter, RouteEntry, Router, make_routers

__all__ = [
    "PatternRouter",
    "Route",
    "RouteEntry",
    "bindings_of",
    "bound_queues",
    "declared",
    "is_broadcast",
    "is_broadcast_exchange",
    "make_routers",
    "public_name",
    "queue",
    "queues",
    "route",
    "select",
    "worker_direct",
]

_DESTINATION = ("queue", "exchange", "exchange_type", "routing_key")
_OWN_KEYS = frozenset({*_DESTINATION, "priority"})
_NOTHING: Mapping[str, Any] = {}


@dataclass(slots=True, frozen=True)
class Route:
    """The destination of one message.

    An empty ``exchange`` is the default exchange: ``routing_key`` is then the queue. ``queue`` is empty for an
    exchange without a declared queue. ``priority`` is ``None`` if neither call, route nor task names it.
    ``options`` are further options of the route (``serializer``, ``expires``, ...) that the call does not set.
    """

    queue: str
    exchange: str = ""
    routing_key: str = ""
    exchange_type: str = "direct"
    priority: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class _RouteTable:
    """The routers, and the routes to single queues, made once per settings."""

    __slots__ = ("by_queue", "default", "routers")

    def __init__(self) -> None:
        self.routers = make_routers(settings.ROUTES)
        self.by_queue: dict[str, Route] = {}
        self.default = self.to_queue(settings.DEFAULT_QUEUE)

    def to_queue(self, name: str) -> Route:
        """Return the route to the queue ``name``."""
        if (known := self.by_queue.get(name)) is not None:
            return known
        if name not in declared() and settings.CREATE_MISSING_QUEUES:
            # This route is not kept: a sender could name any number of queues.
            return Route(check_name("queue", name), "", name)
        found = self.by_queue[name] = _route_through(name, queue(name), "", None, None)
        return found


_table: _RouteTable | None = None


def _forget(*, setting: str, **kwargs: object) -> None:
    global _table
    if setting.startswith("TASKQ_"):
        _table = None


setting_changed.connect(_forget, dispatch_uid="taskq.messages.routing.table")


def _current() -> _RouteTable:
    global _table
    table = _table
    if table is None:
        table = _table = _RouteTable()
    return table


def route(
    name: str,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    task: Any = None,
) -> Route:
    """Return the route of a call of the task ``name``; ``task`` is its definition, if it is registered here.

    Raises ``QueueNotFound`` for a queue that is not declared while ``TASKQ_CREATE_MISSING_QUEUES`` is off.
    """
    table = _current()
    options = options or _NOTHING
    answer = _ask_routers(table.routers, name, args, kwargs or {}, options, task) if table.routers else _NOTHING
    priority = options.get("priority")
    if priority is None and (priority := answer.get("priority")) is None:
        priority = getattr(task, "priority", None)
    extra = _further_options(answer, options) if answer else _NOTHING
    found = _destination(table, options, answer, task)
    if priority is None and not extra:
        return found
    return Route(found.queue, found.exchange, found.routing_key, found.exchange_type, priority, extra)


def _ask_routers(
    routers: tuple[Router, ...], name: str, args: Any, kwargs: Options, options: Options, task: Any
) -> Options:
    for router in routers:
        if answer := router(name, args, kwargs, options, task=task):
            return answer
    return _NOTHING


def _further_options(answer: Options, options: Options) -> dict[str, Any]:
    """Return the further options of a route, without those that the call sets itself."""
    return {key: value for key, value in answer.items() if key not in _OWN_KEYS and options.get(key) is None}


def _destination(table: _RouteTable, options: Options, answer: Options, task: Any) -> Route:
    """Return the destination that the first of call, route and task names; else the default queue."""
    key = options.get("routing_key")
    for source in (options, answer):
        if source and (source.get("queue") or source.get("exchange")):
            return _route_to(table, source, key)
        key = key or source.get("routing_key")
    if task is not None:
        own = {name: getattr(task, name, None) for name in _DESTINATION}
        if own["queue"] or own["exchange"]:
            return _route_to(table, own, key)
        key = key or own["routing_key"]
    return _route_to(table, {"queue": settings.DEFAULT_QUEUE}, key) if key else table.default


def _route_to(table: _RouteTable, source: Options, routing_key: str | None) -> Route:
    get = source.get
    # Members of enumerations become plain text.
    target, exchange, kind = plain(get("queue")), _exchange_name(get("exchange")), plain(get("exchange_type"))
    routing_key = _checked_key(routing_key or get("routing_key"))
    if not target:
        return _route_to_exchange(exchange, kind, routing_key)
    if isinstance(target, str) and not (exchange or routing_key or kind):
        return table.to_queue(target)
    if not isinstance(target, str | Queue):
        raise TypeError(f"queue must be a name or a kombu Queue, not {target!r}.")
    if isinstance(target, Queue):
        refuse_missing(public_name(target))
    found = queue(target) if isinstance(target, str) else with_defaults(target)
    # Only workers that declare a broadcast have queues for it.
    name = "" if is_broadcast(found) and public_name(found) not in declared() else public_name(found)
    return _route_through(name, found, exchange, kind, routing_key)


def _exchange_name(exchange: Any) -> str:
    """Return the name of an exchange, empty for none. Raises ``TypeError`` for any other value."""
    if isinstance(exchange, str | None):
        return plain(exchange) or ""
    if not isinstance(exchange, Exchange):
        raise TypeError(f"exchange must be a name or a kombu Exchange, not {exchange!r}.")
    return str(exchange.name or "")


def _checked_key(routing_key: Any) -> str | None:
    if not isinstance(routing_key, str | None):
        raise TypeError(f"routing_key must be a string, not {routing_key!r}.")
    found: str | None = plain(routing_key)
    return found


def _route_through(name: str, queue: Queue, exchange: str, kind: str | None, routing_key: str | None) -> Route:
    """Return the route to a queue, by the default exchange if the queue's is direct: Celery's rule for publishing."""
    kind = kind or queue.exchange.type or "direct"
    if kind == "direct" and not (exchange and routing_key):
        return Route(name, "", queue.name)
    if exchange:
        return Route(name, exchange, routing_key or queue.routing_key or "", kind)
    return Route(name, queue.exchange.name, routing_key or queue.routing_key or "", kind)


def _route_to_exchange(exchange: str, kind: str | None, routing_key: str | None) -> Route:
    """Return the route to an exchange without a named queue.

    Without a routing key it uses the key of the exchange's first queue, or the exchange's name; Celery would
    send the message to its default queue.
    """
    on_it = [found for found in declared().values() if found.exchange.name == exchange]
    kind = kind or (on_it[0].exchange.type if on_it else "direct")
    if not routing_key and kind != "fanout":
        routing_key = on_it[0].routing_key if on_it else exchange
    bound = bound_queues(exchange, routing_key or "")
    own = exchange if exchange == routing_key and settings.CREATE_MISSING_QUEUES else ""
    queue = bound[0] if bound else own
    return Route(queue, exchange, routing_key or "", kind)
