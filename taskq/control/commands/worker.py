"""Commands about the worker itself: its statistics, its clock, and its end."""

from __future__ import annotations

import os
import resource
import time
from typing import Any

from kombu.connection import Connection

from taskq.conf import settings
from taskq.control.mailbox import NO_REPLY
from taskq.control.registry import control_command, inspect_command
from taskq.control.state import WorkerState


@inspect_command
def stats(state: WorkerState, **_: Any) -> dict[str, Any]:
    """Show statistics: tasks, pool, broker, use of resources."""
    node = state.node
    return {
        "total": dict(node.consumer.holdings.totals),
        "pid": os.getpid(),
        "clock": str(state.clock.value),
        "uptime": round(time.monotonic() - node.started_at),
        "pool": _pool(state),
        "broker": _broker(),
        "prefetch_count": node.source.target,
        "rusage": _rusage(),
    }


def _pool(state: WorkerState) -> dict[str, Any]:
    """Return what the pool says, with the keys that monitors expect of any."""
    limits = state.node.consumer.limits
    common = {"put-guarded-by-semaphore": False, "timeouts": [limits.soft or 0, limits.hard or 0]}
    return common | state.node.consumer.pool.info()


def _broker() -> dict[str, Any]:
    # Of several URLs the first; without its password, and without the others, which may have one.
    info = dict(Connection(settings.BROKER_URL).info())
    return {name: value for name, value in info.items() if name not in {"password", "alternates"}} | {"alternates": []}


def _rusage() -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {name.removeprefix("ru_"): getattr(used, name) for name in dir(used) if name.startswith("ru_")}


@control_command
def shutdown(state: WorkerState, msg: str = "", **_: Any) -> Any:
    """Shut workers down: running tasks may end."""
    state.node.calls.post(lambda: state.node.stop(sig="remote control"))
    return NO_REPLY
