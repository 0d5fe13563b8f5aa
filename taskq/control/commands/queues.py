"""Commands about the queues that a worker reads."""

from __future__ import annotations

from typing import Any

from kombu.entity import Exchange, Queue

from taskq.control.pending import Pending
from taskq.control.registry import control_command, inspect_command
from taskq.control.state import WorkerState
from taskq.messages import routing
from taskq.messages.protocol.options import check_name
from taskq.store.exchanges import EXCHANGE_TYPES


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

    Without ``exchange`` it is the queue of that name in ``TASKQ_QUEUES``, or a new one.
    """
    added = _queue(queue, exchange, exchange_type, routing_key, options)
    reply = {"ok": f"add consumer {queue}"}

    def add() -> dict[str, str]:
        state.node.changes.add_queue(added)
        return reply

    return state.on_store(add, late=lambda: reply)


def _queue(name: str, exchange: str | None, kind: str | None, key: str | None, options: dict[str, Any]) -> Queue:
    check_name("queue", name)
    if exchange is None:
        return routing.queue(name)
    check_name("exchange", exchange)
    check_name("routing_key", key or name)
    if (kind or "direct") not in EXCHANGE_TYPES:
        raise ValueError(f"the type of an exchange is {', '.join(sorted(EXCHANGE_TYPES))}, not {kind!r:.50}")
    return Queue(name, Exchange(exchange, kind or "direct"), routing_key=key or name, **options)


@control_command(args=[("queue", str)], signature="<queue>")
def cancel_consumer(state: WorkerState, queue: str, **_: Any) -> Pending:
    """Have workers read a queue no more; what they hold of it still runs."""
    reply = {"ok": f"no longer consuming from {queue}"}

    def cancel() -> dict[str, str]:
        state.node.changes.cancel_queue(queue)
        return reply

    return state.on_store(cancel, late=lambda: reply)
