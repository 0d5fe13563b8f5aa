"""Requests as Celery's monitors know them: id, name, arguments, where they came from, and since when they run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from taskq import clock
from taskq.calls import masking
from taskq.calls.registry import tasks
from taskq.messages.reprs import MASK
from taskq.worker.loop.holdings import Running
from taskq.worker.loop.request import Request

#: The largest body, in characters, that is read for a reply. The arguments of larger ones are shown as texts.
_MOST = 16_384


def reserved_info(request: Request, hostname: str, *, safe: bool = False) -> dict[str, Any]:
    """Return what is known of a request that waits in the worker. ``safe`` shows its arguments as texts."""
    message, headers = request.message, request.headers
    args, kwargs = _arguments(request, safe=safe)
    return {
        "id": request.id,
        "name": headers.shadow or request.name,
        "args": args,
        "kwargs": kwargs,
        "type": request.name,
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


def running_info(running: Running, hostname: str, *, safe: bool = False) -> dict[str, Any]:
    """Return what is known of a request that runs."""
    return reserved_info(running.request, hostname, safe=safe) | {
        "time_start": clock.now() - (time.monotonic() - running.since),
        "acknowledged": not running.request.acks_late,
        "worker_pid": running.pid,
    }


def waiting(held: Iterable[Request], running: Iterable[Running]) -> list[Request]:
    """Return the requests of a worker that do not run."""
    heads = {each.request.job for each in running}
    return [request for request in held if request.job not in heads]


def _arguments(request: Request, *, safe: bool) -> tuple[Any, Any]:
    """Return the arguments as values if the message has them as plain JSON, else as the texts of the sender.

    Sensitive arguments are masked, also if the sender has not done so. The sender of a large or packed message is
    believed, unless it may have shown what is sensitive.
    """
    if (found := plain_arguments(request.name, request.message)) is not None:
        args, kwargs = found
        return (repr(tuple(args)), repr(dict(kwargs))) if safe else (list(args), dict(kwargs))
    if request.name in tasks.guarded:
        return MASK, MASK
    return request.headers.argsrepr, request.headers.kwargsrepr


def plain_arguments(name: str, message: Any) -> tuple[Any, Any] | None:
    """Return the masked arguments of a message whose body is short plain JSON, else ``None``."""
    if message.content_type != "application/json" or not 0 < len(message.body) <= _MOST:
        return None
    try:
        args, kwargs, *_ = json.loads(message.body)
        found = masking.shown(name, args, kwargs)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return (args, kwargs) if found is None else found
