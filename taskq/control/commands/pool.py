"""Commands about the pool."""

from __future__ import annotations

from typing import Any

from taskq.control.pending import Pending
from taskq.control.registry import control_command
from taskq.control.state import WorkerState

#: The most processes or threads that a pool grows to by a command.
MOST = 1000


def _count(n: Any) -> int:
    if type(n) is not int or not 1 <= n <= MOST:
        raise ValueError(f"n has to be a number from 1 to {MOST}, not {n!r:.50}")
    return n


@control_command(args=[("n", int)], signature="[N=1]")
def pool_grow(state: WorkerState, n: int = 1, **_: Any) -> Pending:
    """Add n processes or threads to the pool."""
    return _resize(state, _count(n), "pool will grow")


@control_command(args=[("n", int)], signature="[N=1]")
def pool_shrink(state: WorkerState, n: int = 1, **_: Any) -> Pending:
    """Take n processes or threads out of the pool, each when its task has ended."""
    return _resize(state, -_count(n), "pool will shrink")


def _resize(state: WorkerState, by: int, words: str) -> Pending:
    reply = {"ok": words}

    def resize() -> dict[str, str]:
        if state.node.consumer.pool.concurrency + by > MOST:
            raise ValueError(f"a pool has at most {MOST}")
        state.node.resize(by)
        return reply

    return state.on_loop(resize, late=reply)


@control_command
def pool_restart(
    state: WorkerState, modules: Any = None, reload: bool = False, reloader: Any = None, **_: Any
) -> dict[str, str]:
    """Restart the pool."""
    raise ValueError("Pool restarts not enabled")


@control_command(args=[("max", int), ("min", int)], signature="[max [min]]")
def autoscale(state: WorkerState, max: int | None = None, min: int | None = None, **_: Any) -> dict[str, str]:
    """Change the limits of autoscaling."""
    raise ValueError("Autoscale not enabled")
