"""The functions of ``taskq.control`` that have workers do something, with Celery's names and arguments.

Each takes ``broadcast``'s options: with ``reply=True`` it returns a list of the replies, each as ``{node: reply}``,
else ``None``. ``destination`` names the workers that are meant, by default all.

The functions that revoke also take ``on_written``, a function that is called when it is written to the database, before
workers are told: with the number of tasks that are revoked, or asked for because a worker holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from taskq.conf import settings
from taskq.store.revoke import revoke as write_revoked

from . import revoking, stamps
from .broadcasts import Replies, broadcast

Destination = str | Sequence[str] | None
Answer = Replies | None


def ping(destination: Destination = None, timeout: float = 1.0, **options: Any) -> Answer:
    """Return ``{node: {"ok": "pong"}}`` of each worker that answers within ``timeout`` seconds."""
    return broadcast("ping", {}, destination, reply=True, timeout=timeout, **options)


# -- tasks


def revoke(
    task_id: str | Sequence[str],
    destination: Destination = None,
    terminate: bool = False,
    signal: str | int = "SIGTERM",
    grace: float | None = None,
    **options: Any,
) -> Answer:
    """Revoke tasks by id, for good: it is written to the database, whether a worker runs or not.

    With ``terminate`` a running task is ended by ``signal``. With ``grace``, in seconds, ``TaskTerminated`` is raised
    in it, which is a ``SoftTimeLimitExceeded``, and the signal follows if it has not ended by then. ``destination``
    only says which workers reply. Raises ``ValueError`` for an id that no task can have.
    """
    ids = revoking.task_ids(task_id)
    name = _write([ids], terminate, signal, grace, options)
    return tell(
        "revoke",
        {"task_id": task_id if isinstance(task_id, str) else ids, "terminate": terminate, "signal": name or signal},
        destination,
        options,
    )


def terminate(
    task_id: str | Sequence[str],
    destination: Destination = None,
    signal: str | int = "SIGTERM",
    grace: float | None = None,
    **options: Any,
) -> Answer:
    """Revoke tasks by id, and end those that run by ``signal``, after ``grace`` as in ``revoke``."""
    return revoke(task_id, destination, terminate=True, signal=signal, grace=grace, **options)


def revoke_by_stamped_headers(
    headers: dict[str, Any],
    destination: Destination = None,
    terminate: bool = False,
    signal: str | int = "SIGTERM",
    grace: float | None = None,
    **options: Any,
) -> Answer:
    """Revoke the tasks that were sent with one of these stamps: ``{key: value}`` or ``{key: [value, ...]}``."""
    name = _write(revoking.by_stamps(stamps.wanted(headers), settings.DATABASE), terminate, signal, grace, options)
    arguments = {"headers": headers, "terminate": terminate, "signal": name or signal}
    return tell("revoke_by_stamped_headers", arguments, destination, options)


def revoke_by_name(
    pattern: str,
    destination: Destination = None,
    terminate: bool = False,
    signal: str | int = "SIGTERM",
    grace: float | None = None,
    **options: Any,
) -> Answer:
    """Revoke the tasks that were sent, and whose names match ``pattern``: ``*``, ``?`` and ``[...]``."""
    pattern = revoking.named("pattern", pattern)
    name = _write(revoking.by_name(pattern, settings.DATABASE), terminate, signal, grace, options)
    arguments = {"pattern": pattern, "terminate": terminate, "signal": name or signal}
    return tell("revoke_by_name", arguments, destination, options)


def _write(
    batches: Iterable[list[str]], terminate: bool, signal: str | int, grace: float | None, options: dict[str, Any]
) -> str:
    """Write that tasks are revoked; return the signal, if they are to be ended."""
    on_written = options.pop("on_written", None)
    name = revoking.signal_text(terminate, signal, grace)
    count = sum(write_revoked(ids, name, settings.DATABASE) for ids in batches if ids)
    if on_written is not None:
        on_written(count)
    return name


def tell(command: str, arguments: dict[str, Any], destination: Destination, options: dict[str, Any]) -> Answer:
    """Tell workers. Those of taskq have it from the database: without a reply, this is for Celery's."""
    if not options.get("reply") and settings.CONTROL_URL.startswith("django:"):
        return None
    return broadcast(command, arguments | {"written": True}, destination, **options)


def rate_limit(task_name: str, rate_limit: int | str | None, destination: Destination = None, **options: Any) -> Answer:
    """Set the rate limit of a task: ``100`` a second, ``"100/m"``, ``"5/h"``; ``None`` or 0 is none."""
    return broadcast("rate_limit", {"task_name": task_name, "rate_limit": rate_limit}, destination, **options)


def time_limit(
    task_name: str,
    soft: float | None = None,
    hard: float | None = None,
    destination: Destination = None,
    **options: Any,
) -> Answer:
    """Set the time limits of a task, in seconds; ``None`` is none."""
    return broadcast("time_limit", {"task_name": task_name, "hard": hard, "soft": soft}, destination, **options)


# -- queues


def add_consumer(
    queue: str,
    exchange: str | None = None,
    exchange_type: str = "direct",
    routing_key: str | None = None,
    options: dict[str, Any] | None = None,
    destination: Destination = None,
    **more: Any,
) -> Answer:
    """Have workers read a queue too; ``options`` are those of kombu's ``Queue``, ``more`` those of ``broadcast``."""
    named = {"queue": queue, "exchange": exchange, "exchange_type": exchange_type, "routing_key": routing_key}
    return broadcast("add_consumer", named | (options or {}), destination, **more)


def cancel_consumer(queue: str, destination: Destination = None, **options: Any) -> Answer:
    """Have workers read a queue no more."""
    return broadcast("cancel_consumer", {"queue": queue}, destination, **options)


# -- the pool


def pool_grow(n: int = 1, destination: Destination = None, **options: Any) -> Answer:
    """Add ``n`` processes or threads to the pools."""
    return broadcast("pool_grow", {"n": n}, destination, **options)


def pool_shrink(n: int = 1, destination: Destination = None, **options: Any) -> Answer:
    """Take ``n`` processes or threads out of the pools, each when its task has ended."""
    return broadcast("pool_shrink", {"n": n}, destination, **options)


def pool_restart(
    modules: Sequence[str] | None = None,
    reload: bool = False,
    reloader: Any = None,
    destination: Destination = None,
    **options: Any,
) -> Answer:
    """Restart the pools."""
    return broadcast(
        "pool_restart", {"modules": modules, "reload": reload, "reloader": reloader}, destination, **options
    )


def autoscale(max: int, min: int, destination: Destination = None, **options: Any) -> Answer:
    """Change the limits of autoscaling."""
    return broadcast("autoscale", {"max": max, "min": min}, destination, **options)


# -- events and workers


def enable_events(destination: Destination = None, **options: Any) -> Answer:
    """Have workers send events of tasks."""
    return broadcast("enable_events", {}, destination, **options)


def disable_events(destination: Destination = None, **options: Any) -> Answer:
    """Have workers send no more events of tasks."""
    return broadcast("disable_events", {}, destination, **options)


def heartbeat(destination: Destination = None, **options: Any) -> Answer:
    """Have workers send a heartbeat event now."""
    return broadcast("heartbeat", {}, destination, **options)


def shutdown(destination: Destination = None, **options: Any) -> Answer:
    """Shut workers down as TERM does: running tasks may end. There is no reply."""
    return broadcast("shutdown", {}, destination, **options)
