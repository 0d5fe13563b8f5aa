"""Commands about the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.control.pending import Pending
from taskq.control.registry import control_command

if TYPE_CHECKING:
    # The management commands read the commands too, and need nothing of a worker.
    from taskq.control.state import WorkerState

#: The most processes or threads that a pool grows to by a command.
MOST = 1000


def _number(name: str, value: Any, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= MOST:
        raise ValueError(f"{name} has to be a number from {least} to {MOST}, not {value!r:.50}")
    return value


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _flag(text: str) -> bool:
    return text.lower() in {"1", "true", "yes", "on", "reload"}


@control_command(args=[("n", int)], signature="[N=1]")
def pool_grow(state: WorkerState, n: int = 1, **_: Any) -> Any:
    """Add n processes or threads to the pool."""
    return _resize(state, "pool_grow", _number("n", n), "pool will grow")


@control_command(args=[("n", int)], signature="[N=1]")
def pool_shrink(state: WorkerState, n: int = 1, **_: Any) -> Any:
    """Take n processes or threads out of the pool, each when its task has ended."""
    return _resize(state, "pool_shrink", -_number("n", n), "pool will shrink")


def _resize(state: WorkerState, command: str, by: int, words: str) -> Pending | dict[str, str]:
    if state.node.consumer.autoscaler is not None:
        # Celery's words: programs may look for them.
        return {"error": f"{command} is not supported with autoscale. Adjust autoscale range instead."}
    reply = {"ok": words}

    def resize() -> dict[str, str]:
        if state.node.consumer.pool.concurrency + by > MOST:
            raise ValueError(f"a pool has at most {MOST}")
        state.node.changes.resize(by)
        return reply

    return state.on_loop(resize, late=reply)


@control_command(args=[("modules", _names), ("reload", _flag)], signature="[modules [reload]]")
def pool_restart(
    state: WorkerState, modules: Any = None, reload: bool = False, reloader: Any = None, **_: Any
) -> Pending:
    """Replace the processes of the pool, each when its task has ended; reload has new ones import the code anew."""
    if not settings.POOL_RESTARTS:
        raise ValueError("Pool restarts not enabled")
    if reloader is not None:
        raise ValueError("there is no reloader: the code is imported by a new process")
    _refuse_unknown(_names(modules) if isinstance(modules, str) else modules or ())
    pool = state.node.consumer.pool
    reply = {"ok": "reload started"}

    def restart() -> dict[str, str]:
        pool.restart(reload=bool(reload))
        return reply

    return state.on_loop(restart, late=reply)


def _refuse_unknown(modules: Any) -> None:
    """Raise ``ValueError`` for modules whose tasks this worker does not know: a command has nothing new imported."""
    known = {task.__module__ for task in tasks.values()}
    unknown = sorted(str(module) for module in modules if module not in known)
    if unknown:
        raise ValueError(f"no tasks of this worker are in {', '.join(unknown)[:200]}: a new module needs a new worker")


@control_command(args=[("max", int), ("min", int)], signature="[max [min]]")
def autoscale(state: WorkerState, max: int | None = None, min: int | None = None, **_: Any) -> Pending:
    """Change the limits of autoscaling: the most and the fewest processes or threads."""
    scaler = state.node.consumer.autoscaler
    if scaler is None:
        raise ValueError("Autoscale not enabled")
    most = None if max is None else _number("max", max)
    least = None if min is None else _number("min", min, least=0)

    def change() -> dict[str, str]:
        scaler.set_limits(most, least)
        state.node.consumer.rebalance()
        return {"ok": f"autoscale now max={scaler.most} min={scaler.least}"}

    return state.on_loop(change, late={"ok": "autoscale will change"})
