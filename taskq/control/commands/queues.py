"""Commands about the queues that a worker reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, Any

from kombu.entity import Exchange, Queue

from taskq.control.pending import Pending
from taskq.control.registry import control_command, inspect_command
from taskq.control.revoking import named
from taskq.messages import routing
from taskq.store.exchanges import EXCHANGE_TYPES

if TYPE_CHECKING:
    # The management commands read the commands too, and need nothing of a worker.
    from taskq.control.state import WorkerState

#: The longest time in seconds and the largest number that an option may have.
_LONGEST, _MOST = 10 * 365 * 86400.0, 2**31 - 1
#: The most characters of the names of a worker's queues, as its row has them: pages read the start of what it has.
_MOST_NAMES = 16_000


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value) and 0 < value <= _LONGEST


def _are_arguments(value: Any) -> bool:
    """Tell whether a value can be a table of AMQP: plain values by name, times in milliseconds."""
    return isinstance(value, dict) and all(
        _is_time(each) if name in ("x-expires", "x-message-ttl") else type(each) in (str, int, float, bool)
        for name, each in value.items()
    )


#: The options of a queue that a command may set, each with a test, and the words for what passes it.
_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("durable", "auto_delete", "exclusive"), (_is_flag, "true or false")),
    **dict.fromkeys(("expires", "message_ttl"), (_is_time, f"a number of seconds up to {_LONGEST:g}")),
    **dict.fromkeys(("max_length", "max_length_bytes", "max_priority"), (_is_number, f"a number up to {_MOST}")),
    **dict.fromkeys(
        ("queue_arguments", "binding_arguments", "consumer_arguments"), (_are_arguments, "an object of plain values")
    ),
}


@inspect_command
def active_queues(state: WorkerState, **_: Any) -> list[dict[str, Any]]:
    """List the queues that workers read."""
    return [dict(queue.as_dict(recurse=True)) for queue in state.node.options.queues]


@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(
    state: WorkerState,
    queue: str,
    exchange: str | None = None,
    exchange_type: str | None = None,
    routing_key: str | None = None,
    **options: Any,
) -> Pending:
    """Have workers read a queue too.

    Without ``exchange`` it is the queue of that name in ``TASKQ_QUEUES``, or a new one. ``options`` are those
    of kombu's ``Queue`` that a broker knows; an unknown one is an error.
    """
    added = _queue(queue, exchange, exchange_type, routing_key, options)
    reply = {"ok": f"add consumer {queue}"}

    def add() -> dict[str, str]:
        _check_space(queue, [each.name for each in state.node.options.queues])
        state.node.changes.add_queue(added)
        return reply

    return state.on_store(add, late=lambda: reply)


def _check_space(queue: str, names: list[str]) -> None:
    """Raise ``ValueError`` if a worker that reads the queues ``names`` can't read another one."""
    if queue not in names and len(json.dumps([*names, queue])) > _MOST_NAMES:
        raise ValueError(f"the worker reads {len(names)} queues, and their names have no space for another one")


def _queue(name: str, exchange: str | None, kind: str | None, key: str | None, options: dict[str, Any]) -> Queue:
    named("queue", name)
    options = _checked(options)
    if kind is not None and (not isinstance(kind, str) or kind not in EXCHANGE_TYPES):
        raise ValueError(f"the type of an exchange is {', '.join(sorted(EXCHANGE_TYPES))}, not {kind!r:.50}")
    key = None if key is None else named("routing_key", key)
    if exchange is not None:
        return Queue(name, Exchange(named("exchange", exchange), kind or "direct"), routing_key=key or name, **options)
    if options and name in routing.declared():
        raise ValueError(f"the queue {name!r} is in TASKQ_QUEUES, and has the options that it has there")
    found = routing.queue(name)
    return Queue(name, found.exchange, routing_key=found.routing_key, **options) if options else found


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a queue that are given. Raises ``ValueError`` for an unknown or a wrong one."""
    for name, value in options.items():
        if name not in _OPTIONS:
            raise ValueError(f"{name[:50]!r} is no option of a queue: there are {', '.join(sorted(_OPTIONS))}")
        fits, words = _OPTIONS[name]
        if value is not None and not fits(value):
            raise ValueError(f"{name} has to be {words}, not {value!r:.50}")
    return {name: value for name, value in options.items() if value is not None}


@control_command(args=[("queue", str)], signature="<queue>")
def cancel_consumer(state: WorkerState, queue: str, **_: Any) -> Pending:
    """Have workers read a queue no more; what they hold of it still runs."""
    reply = {"ok": f"no longer consuming from {named('queue', queue)}"}

    def cancel() -> dict[str, str]:
        state.node.changes.cancel_queue(queue)
        return reply

    return state.on_store(cancel, late=lambda: reply)
