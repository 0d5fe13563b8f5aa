"""Commands that tell what a worker does: they read snapshots, and answer whatever else waits."""

from __future__ import annotations

from typing import Any

from taskq.control import taskinfo
from taskq.control.registry import inspect_command
from taskq.control.state import WorkerState


@inspect_command(default_timeout=0.2)
def ping(state: WorkerState, **_: Any) -> dict[str, str]:
    """Ping workers."""
    return {"ok": "pong"}


@inspect_command(alias="dump_active")
def active(state: WorkerState, safe: bool = False, **_: Any) -> list[dict[str, Any]]:
    """List the tasks that run now."""
    consumer = state.node.consumer
    running = consumer.holdings.running(consumer.pool)
    return [taskinfo.running_info(each, state.hostname, safe=bool(safe)) for each in running]


@inspect_command(alias="dump_reserved")
def reserved(state: WorkerState, **_: Any) -> list[dict[str, Any]]:
    """List the tasks that workers hold and that have not started."""
    consumer = state.node.consumer
    held = consumer.holdings.all()
    waiting = taskinfo.waiting(held, consumer.holdings.running(consumer.pool))
    return [taskinfo.reserved_info(request, state.hostname) for request in waiting]
