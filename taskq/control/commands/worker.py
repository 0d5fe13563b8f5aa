"""Commands about the worker itself: its statistics, its settings, and its end."""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING, Any

from kombu.connection import Connection

from taskq.conf import masked_url, settings
from taskq.control import configuration, rows
from taskq.control.pending import NO_REPLY
from taskq.control.registry import control_command, inspect_command
from taskq.worker.process.system import resident_kib

if TYPE_CHECKING:
    # The management commands read the commands too, and need nothing of a worker.
    from taskq.control.state import WorkerState


@inspect_command
def stats(state: WorkerState, **_: Any) -> dict[str, Any]:
    """Show statistics: tasks, pool, broker, use of resources."""
    node = state.node
    scaler = node.consumer.autoscaler
    scaling = {"autoscaler": scaler.info(node.consumer.held, node.consumer.pool.concurrency)} if scaler else {}
    return scaling | {
        "total": dict(node.consumer.holdings.totals),
        "pid": os.getpid(),
        "clock": str(state.clock.value),
        "uptime": round(time.monotonic() - node.started_at),
        "pool": _pool(state),
        "broker": _broker(),
        "prefetch_count": node.source.target,
        "rusage": _rusage(),
        **node.activity.info(),
    }


def _pool(state: WorkerState) -> dict[str, Any]:
    """Return what the pool says, with the keys that monitors expect of any."""
    limits = state.node.consumer.limits
    common = {"put-guarded-by-semaphore": False, "timeouts": [limits.soft or 0, limits.hard or 0]}
    return common | state.node.consumer.pool.info()


def _broker() -> dict[str, Any]:
    # Of several URLs the first; without its password, and without the others, which may have one.
    info = dict(Connection(settings.BROKER_URL).info())
    shown: dict[str, Any] = configuration.shown(
        {name: info[name] for name in info if name not in {"password", "alternates"}}
    )
    # Of a URL that kombu does not take apart, the host is the rest of it.
    host = shown.get("hostname")
    return shown | {"alternates": [], "hostname": host and masked_url(host)}


def _rusage() -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {name.removeprefix("ru_"): getattr(used, name) for name in dir(used) if name.startswith("ru_")}


@inspect_command
def memsample(state: WorkerState, **_: Any) -> str:
    """Show the resident memory of the main process."""
    return f"{resident_kib() / 1024:.2f}MB"


@inspect_command(
    alias="dump_conf",
    signature="[include_defaults=False]",
    args=[("with_defaults", lambda text: text.lower() in {"1", "true", "yes", "on"})],
)
def conf(state: WorkerState, with_defaults: bool = False, **_: Any) -> dict[str, Any]:
    """Show the settings that are set, or all; passwords are masked."""
    return configuration.values(with_defaults=bool(with_defaults))


@inspect_command
def report(state: WorkerState, **_: Any) -> dict[str, str]:
    """Show versions, platform and settings, for a bug report."""
    return {"ok": configuration.report()}


@inspect_command(visible=False)
def hello(state: WorkerState, from_node: str = "", revoked: Any = None, **_: Any) -> Any:
    """Tell a worker that starts which tasks are revoked, and the logical clock. What it tells needs no memory here."""
    if from_node == state.hostname:
        return None
    clock = state.clock.forward()
    return state.on_store(
        lambda: {"revoked": rows.revoked(state.node.store.alias), "clock": clock},
        late=lambda: {"revoked": [], "clock": clock},
    )


@control_command(replies=False)
def shutdown(state: WorkerState, msg: str = "", **_: Any) -> Any:
    """Shut workers down: running tasks may end."""
    state.node.calls.post(lambda: state.node.stop(sig="remote control"))
    return NO_REPLY
