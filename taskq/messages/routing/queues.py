"""The queues of ``TASKQ_QUEUES``, read once per settings, and new queues for names that are not in it.

Called by ``route`` for senders, by the worker for ``-Q`` and ``-X``, and by the checks. Declares nothing at a broker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from kombu.entity import Exchange, Queue

from taskq.conf import settings
from taskq.exceptions import QueueNotFound
from taskq.ids import MAX_NAME
from taskq.messages.protocol.options import is_storable

from .topics import topic_matches

# kombu has no type hints for these.
_new_queue: Any = Queue
_new_exchange: Any = Exchange

#: Keys of a dictionary in ``TASKQ_QUEUES``, for its queue and for an exchange given by name.
_OF_QUEUE = frozenset(attribute for attribute, _ in Queue.attrs) - {"name"}
_OF_ITS_EXCHANGE = frozenset(
    {
        *("binding_key", "delivery_mode", "queue_durable", "queue_auto_delete"),
        *("exchange_type", "exchange_durable", "exchange_auto_delete", "exchange_arguments"),
    }
)

_declared: dict[str, Queue] | None = None


def _forget(*, setting: str, **kwargs: object) -> None:
    global _declared
    if setting.startswith("TASKQ_"):
        _declared = None


setting_changed.connect(_forget, dispatch_uid="taskq.messages.routing.queues")


def _own_queue(name: str) -> Queue:
    """Return a new queue for an undeclared name, with an exchange and a routing key of the same name."""
    made: Queue = _new_queue(name, _new_exchange(name, type="direct"), routing_key=name)
    return made


def with_defaults(queue: Queue) -> Queue:
    """Return ``queue`` with the default exchange and routing key, if it names none."""
    if queue.exchange is None or not queue.exchange.name:
        queue = copy(queue)
        queue.exchange = _new_exchange(settings.DEFAULT_EXCHANGE, type=settings.DEFAULT_EXCHANGE_TYPE)
    if not queue.routing_key and not queue.bindings and queue.exchange.type != "fanout":
        queue = copy(queue)
        # Each queue has a key of its own: with one key for all, each message would go to all queues.
        queue.routing_key = settings.DEFAULT_ROUTING_KEY if queue.name == settings.DEFAULT_QUEUE else queue.name
    return queue


def _queue_of(name: str | None, value: Any) -> Queue:
    """Return the queue of one entry of ``TASKQ_QUEUES``; ``name`` is its key if the setting is a dictionary."""
    if isinstance(value, Queue):
        return with_defaults(value)
    if isinstance(value, str) and name is None:
        return with_defaults(_new_queue(value))
    if isinstance(value, Mapping) or (value is None and name):
        options = dict(value or {})
        name = options.pop("name", None) or name
        if name:
            return with_defaults(_from_options(name, options))
    raise ImproperlyConfigured(f"TASKQ_QUEUES: {value!r} is not a name, a kombu Queue or a dictionary with a name.")


def _from_options(name: str, options: dict[str, Any]) -> Queue:
    """Return the queue that a dictionary describes; unknown keys, which kombu would drop, are refused."""
    exchange = options.get("exchange")
    known = _OF_QUEUE if isinstance(exchange, Exchange) else _OF_QUEUE | _OF_ITS_EXCHANGE
    if unknown := options.keys() - known:
        raise ImproperlyConfigured(
            f"TASKQ_QUEUES: the queue {name!r} has unknown options: {', '.join(sorted(map(str, unknown)))}. "
            f"There are {', '.join(sorted(known))}."
        )
    if isinstance(exchange, Exchange):
        return cast(Queue, _new_queue(name, **options))
    if exchange is not None and not isinstance(exchange, str):
        raise ImproperlyConfigured(
            f"TASKQ_QUEUES: the exchange of the queue {name!r} must be a name or a kombu Exchange, not {exchange!r}."
        )
    options.setdefault("exchange_type", settings.DEFAULT_EXCHANGE_TYPE)
    return cast(Queue, _new_queue.from_dict(name, **options))


def public_name(queue: Queue) -> str:
    """Return the name of ``queue`` for senders and for ``-Q``: the alias of a ``Broadcast``."""
    return str(getattr(queue, "alias", None) or queue.name)


def bindings_of(queue: Queue) -> list[tuple[Exchange, str]]:
    """Return the exchanges of ``queue``, each with its binding key or pattern."""
    pairs = [(queue.exchange, queue.routing_key), *((b.exchange, b.routing_key) for b in queue.bindings or ())]
    return [(exchange, key or "") for exchange, key in pairs if exchange is not None]


def is_broadcast(queue: Queue) -> bool:
    """Tell whether each worker has its own queue for this name, as with kombu's ``Broadcast``."""
    return bool(getattr(queue, "alias", None)) and any(exchange.type != "direct" for exchange, _ in bindings_of(queue))


def is_broadcast_exchange(name: str) -> bool:
    """Tell whether the messages to an exchange go to every worker."""
    return any(
        is_broadcast(queue) and any(exchange.name == name for exchange, _ in bindings_of(queue))
        for queue in declared().values()
    )


def _check_names(queue: Queue) -> None:
    for name in (queue.name, *(name for exchange, key in bindings_of(queue) for name in (exchange.name, key))):
        if name and not is_storable(name):
            raise ImproperlyConfigured(
                f"TASKQ_QUEUES: a name must have at most {MAX_NAME} characters that can be written as UTF-8, "
                f"and no NUL: {name!r}."
            )


def _read() -> dict[str, Queue]:
    value = settings.QUEUES or ()
    entries = value.items() if isinstance(value, Mapping) else [(None, entry) for entry in value]
    found: dict[str, Queue] = {}
    for name, entry in entries:
        queue = _queue_of(name, entry)
        _check_names(queue)
        found[public_name(queue)] = queue
    default = settings.DEFAULT_QUEUE
    if default not in found:
        # Always declared: messages without a route must not wait in a queue that no worker reads.
        found[default] = with_defaults(_new_queue(default))
    return found


# -- public ------------------------------------------------------------------------


def declared() -> Mapping[str, Queue]:
    """Return the declared queues by the names that senders use. The mapping is shared: do not change it."""
    global _declared
    found = _declared
    if found is None:
        found = _declared = _read()
    return found


def queues() -> dict[str, Queue]:
    """Return the declared queues by name: those of ``TASKQ_QUEUES``, and always the default queue."""
    return dict(declared())


def queue(name: str) -> Queue:
    """Return the queue ``name``, a new one if it is not declared. Raises as ``refuse_missing``."""
    if (found := declared().get(name)) is not None:
        return found
    refuse_missing(name)
    return _own_queue(name)


def refuse_missing(name: str) -> None:
    """Raise ``QueueNotFound`` for a queue that is not declared, if ``TASKQ_CREATE_MISSING_QUEUES`` is off."""
    if not settings.CREATE_MISSING_QUEUES and name not in declared():
        raise QueueNotFound(f"The queue {name!r} is not in TASKQ_QUEUES, and TASKQ_CREATE_MISSING_QUEUES is off.")


def select(include: Iterable[str] | str | None = None, exclude: Iterable[str] | str | None = None) -> dict[str, Queue]:
    """Return the queues of ``-Q include`` (default: all declared) without ``-X exclude``, in the order given.

    Both may be text with commas. Raises ``QueueNotFound`` as ``queue`` does, and ``ValueError`` if no queue is left.
    """
    left_out = set(_names(exclude))
    wanted = _names(include)
    chosen = {name: queue(name) for name in wanted} if wanted else queues()
    chosen = {name: found for name, found in chosen.items() if name not in left_out}
    if not chosen:
        raise ValueError("No queue is left to read: see -Q and -X.")
    return chosen


def _names(value: Iterable[str] | str | None) -> list[str]:
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) else [part for text in value for part in text.split(",")]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def worker_direct(node: str) -> Queue:
    """Return the queue that only the worker ``node`` reads. Source: Celery's ``worker_direct``."""
    made: Queue = _new_queue(f"{node}.dq2", _new_exchange("C.dq2", type="direct"), routing_key=node, auto_delete=True)
    return made


def bound_queues(exchange: str, routing_key: str) -> list[str]:
    """Return the declared queues that get a message sent to ``exchange`` with ``routing_key``.

    For the default exchange that is the queue of that name, declared or not. The queues of a
    broadcast are missing: only their workers know them.
    """
    if not exchange:
        return [routing_key]
    return [queue.name for queue in declared().values() if _is_bound(queue, exchange, routing_key)]


def _is_bound(queue: Queue, exchange: str, routing_key: str) -> bool:
    return not is_broadcast(queue) and any(
        source.name == exchange and _key_matches(source.type, key, routing_key) for source, key in bindings_of(queue)
    )


def _key_matches(kind: str, pattern: str, key: str) -> bool:
    if kind == "topic":
        return topic_matches(pattern, key)
    return kind == "fanout" or pattern == key
