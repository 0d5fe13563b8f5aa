"""Tasks as Celery's monitors know them: id, name, arguments, where they came from, and since when they run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskq import clock
from taskq.calls import masking

if TYPE_CHECKING:
    # Callers load this module with the commands, and need nothing of a worker.
    from taskq.worker.loop.holdings import Running
    from taskq.worker.loop.request import Request

#: The largest body, in characters, that is read for a reply. The arguments of larger ones are shown as texts.
_MOST = 16_384


def message_info(
    message: Any, task_id: str, name: str, headers: Mapping[str, Any], hostname: str, *, safe: bool = False
) -> dict[str, Any]:
    """Return what is known of a task that does not run, by its message or row. ``safe`` shows arguments as texts."""
    args, kwargs = _arguments(message, name, headers, safe=safe)
    shadow = headers.get("shadow")
    return {
        "id": task_id,
        "name": shadow if shadow and isinstance(shadow, str) else name,
        "args": args,
        "kwargs": kwargs,
        "type": name,
        "hostname": hostname,
        "time_start": None,
        "acknowledged": False,
        "delivery_info": {
            "exchange": message.exchange,
            "routing_key": message.routing_key or message.queue,
            "priority": message.priority,
            "redelivered": bool(message.redelivered),
        },
        "worker_pid": None,
    }


def reserved_info(request: Request, hostname: str, *, safe: bool = False) -> dict[str, Any]:
    """Return what is known of a request that waits in the worker."""
    return message_info(request.message, request.id, request.name, request.headers.raw, hostname, safe=safe)


def running_info(running: Running, hostname: str, *, safe: bool = False) -> dict[str, Any]:
    """Return what is known of a request that runs."""
    return reserved_info(running.request, hostname, safe=safe) | {
        "time_start": clock.now() - (time.monotonic() - running.since),
        "acknowledged": not running.request.acks_late,
        "worker_pid": running.pid,
    }


def _arguments(message: Any, name: str, headers: Mapping[str, Any], *, safe: bool) -> tuple[Any, Any]:
    """Return the arguments as values if the message has them as plain JSON, else as the texts of the sender.

    Sensitive arguments are masked, also if the sender has not done so: who sends a large or packed message of a task
    that has some is not believed.
    """
    if (found := _plain_arguments(message, name)) is not None:
        args, kwargs = found
        return (repr(tuple(args)), repr(dict(kwargs))) if safe else (list(args), dict(kwargs))
    return masking.trusted_reprs(name, headers.get("argsrepr") or "", headers.get("kwargsrepr") or "")


def _plain_arguments(message: Any, name: str) -> tuple[Any, Any] | None:
    """Return the masked arguments of a message whose body is short plain JSON, else ``None``."""
    if message.content_type != "application/json" or not 0 < len(message.body) <= _MOST:
        return None
    try:
        args, kwargs, *_ = json.loads(message.body)
        found = masking.shown(name, args, kwargs)
        return tuple((found or (args, kwargs))[0]), dict((found or (args, kwargs))[1])
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
