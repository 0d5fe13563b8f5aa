"""Checks of the project's tasks: their names, serializers and queues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.core.checks import CheckMessage, register
from django.core.exceptions import ImproperlyConfigured
from kombu.entity import Queue

from taskq.conf import database_broker_alias, settings
from taskq.messages.protocol.options import check_limit_order

from . import ids
from .broker import unknown_compression, unknown_serializer
from .values import TAG, reads


@register(TAG)
def check_task_names(**kwargs: Any) -> list[CheckMessage]:
    """E008: each name has one task."""
    from taskq.calls import registry

    return [
        ids.TWO_TASKS(f"The task name {name!r} is given twice or more: {', '.join(origins)}.")
        for name, origins in sorted(registry.duplicates().items())
    ]


@register(TAG)
@reads("TIME_LIMIT", "SOFT_TIME_LIMIT")
def check_task_limits(**kwargs: Any) -> Iterator[CheckMessage]:
    """W008: the soft limit of a task is not above its hard limit; E015 is about the settings."""
    from taskq.calls import registry

    for _, task in sorted(registry.tasks.items()):
        hard, soft = task.time_limit, task.soft_time_limit
        if hard == settings.TIME_LIMIT or soft == settings.SOFT_TIME_LIMIT:  # not both are the task's own
            continue
        try:
            check_limit_order(f"The task {task.name!r}", hard, soft)
        except ValueError as error:
            yield ids.TASK_LIMITS(str(error))


@register(TAG)
@reads("SERIALIZER", "COMPRESSION")
def check_task_content(**kwargs: Any) -> Iterator[CheckMessage]:
    """E005: serializers and compressions of tasks exist."""
    from kombu.serialization import registry as serializers

    from taskq.calls import registry

    for name, task in sorted(registry.tasks.items()):
        if task.serializer != settings.SERIALIZER and task.serializer not in serializers._encoders:
            yield unknown_serializer(f"The task {name!r}", task.serializer)
        if task.compression is not None and task.compression != settings.COMPRESSION:
            yield from unknown_compression(f"The task {name!r}", task.compression)


@register(TAG)
@reads("QUEUES", "ROUTES", "CREATE_MISSING_QUEUES", "DEFAULT_EXCHANGE_TYPE", "BROKER_URL", "DATABASE")
def check_routes(**kwargs: Any) -> Iterator[CheckMessage]:
    """E007, E016: queues and routes can be read, and the queues of routes and tasks are declared."""
    from taskq.calls import destinations
    from taskq.messages import routing

    try:
        declared = routing.queues()
        named = list(destinations.named_queues())
    except (ImproperlyConfigured, ImportError, TypeError, ValueError) as exc:
        text = str(exc)
        yield ids.ROUTES(text if text.startswith("TASKQ_") else f"TASKQ_QUEUES or TASKQ_ROUTES: {text}")
        return
    yield from _impossible_exchanges(declared.values())
    if settings.CREATE_MISSING_QUEUES:
        return
    for source, queue in named:
        if queue not in declared:
            yield ids.UNDECLARED_QUEUE(
                f"{source[0].upper()}{source[1:]} names the queue {queue!r}, which is not in TASKQ_QUEUES."
            )


@register(TAG)
@reads("ROUTES")
def check_route_names(**kwargs: Any) -> Iterator[CheckMessage]:
    """W009: each name and pattern of the routes is that of a task; E016 is about routes that can't be read."""
    from taskq.calls import destinations, registry

    try:
        unmatched = destinations.unmatched()
    except (ImproperlyConfigured, ImportError, TypeError, ValueError):
        return
    for text in unmatched:
        near = destinations.nearest(text, registry.tasks)
        hint = f"The task with the nearest name is {near!r}." if near else None
        yield ids.UNMATCHED_ROUTE(f"TASKQ_ROUTES[{text!r}] matches no task.", hint)


def _impossible_exchanges(queues: Iterable[Queue]) -> Iterator[CheckMessage]:
    """Report exchanges of a type that the database broker does not have."""
    from taskq.messages.routing import bindings_of
    from taskq.store.exchanges import EXCHANGE_TYPES

    if database_broker_alias() is None:
        return
    exchanges = {(exchange.name, exchange.type) for queue in queues for exchange, _ in bindings_of(queue)}
    for name, kind in sorted(pair for pair in exchanges if pair[1] not in EXCHANGE_TYPES):
        yield ids.ROUTES(
            f"TASKQ_QUEUES or TASKQ_DEFAULT_EXCHANGE_TYPE: the exchange {name!r} is of type {kind!r}. "
            f"django:// has {', '.join(sorted(EXCHANGE_TYPES))}."
        )
