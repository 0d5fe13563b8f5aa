"""Checks of the project's tasks: their names, serializers and queues."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
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
    from taskq.messages import routing

    try:
        declared = routing.queues()
        routing.compiled(settings.ROUTES)
        targets = list(_targets())
    except (ImproperlyConfigured, ImportError, TypeError, ValueError) as exc:
        text = str(exc)
        yield ids.ROUTES(text if text.startswith("TASKQ_") else f"TASKQ_QUEUES or TASKQ_ROUTES: {text}")
        return
    yield from _impossible_exchanges(declared.values())
    if settings.CREATE_MISSING_QUEUES:
        return
    for source, queue in targets:
        if queue not in declared:
            yield ids.UNDECLARED_QUEUE(f"{source} names the queue {queue!r}, which is not in TASKQ_QUEUES.")


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


def _targets() -> Iterator[tuple[str, str]]:
    """Yield the queues that routes and tasks name, each with its source; callables are not called."""
    from taskq.calls import registry

    for pattern, route in _pairs(settings.ROUTES):
        queue = route.get("queue") if isinstance(route, Mapping) else route
        if queue is not None:
            text = getattr(pattern, "pattern", pattern)
            yield f"TASKQ_ROUTES[{text!r}]", _name(queue)
    for name, task in sorted(registry.tasks.items()):
        if queue := getattr(task, "queue", None):
            yield f"The task {name!r}", _name(queue)


def _name(queue: Any) -> str:
    from taskq.messages.routing import public_name

    return public_name(queue) if isinstance(queue, Queue) else str(queue)


def _pairs(routes: Any) -> Iterator[tuple[Any, Any]]:
    """Yield pattern and route of the entries of ``TASKQ_ROUTES`` that are not callables or import paths."""
    if isinstance(routes, Mapping):
        yield from routes.items()
    for entry in routes if isinstance(routes, list | tuple) else ():
        if isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str | re.Pattern):
            yield entry[0], entry[1]
        else:
            yield from _pairs(entry)
