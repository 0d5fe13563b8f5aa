"""The events of tasks in Celery's layout, without the fields that all events have. Pure functions.

Source: the fields that Celery 5.7's workers send.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from taskq import states
from taskq.calls.registry import tasks
from taskq.messages.exception_data import decode_exception, repr_of
from taskq.messages.reprs import LIMIT, MASK, short_repr
from taskq.messages.values import JSON
from taskq.records import Settlement
from taskq.worker.loop.request import Request

Event = dict[str, Any]

#: The longest value, in characters, that is read for its repr.
_MOST = 16_384
#: The values that are their own repr.
_SAME = frozenset("0123456789")


def received(requests: Iterable[Request]) -> Iterator[Event]:
    """Yield ``task-received`` for each request."""
    guarded = tasks.guarded
    for request in requests:
        headers = request.headers
        masked = request.name in guarded
        yield {
            "type": "task-received",
            "uuid": request.message.task_id,
            "name": headers.shadow or request.name,
            "args": MASK if masked else headers.argsrepr,
            "kwargs": MASK if masked else headers.kwargsrepr,
            "root_id": headers.root_id,
            "parent_id": headers.parent_id,
            "retries": headers.retries,
            "eta": _iso(headers.eta),
            "expires": _iso(headers.expires),
        }


def started(task_id: str, at: float) -> Event:
    """Return ``task-started``; ``at`` is a Unix time."""
    return {"type": "task-started", "uuid": task_id, "timestamp": at}


def put_back(request: Request) -> Event:
    """Return the ``task-rejected`` of a message that waits again."""
    return {"type": "task-rejected", "uuid": request.id, "requeue": True}


def ended(settlement: Settlement, signum: str | None = None) -> Event | None:
    """Return the event of an end, ``None`` if there is none: the task was ignored, or replaced.

    ``signum`` is the signal that was asked for, if the task was terminated.
    """
    make = _ENDS.get(settlement.state)
    if make is None or not settlement.task_id:
        return None
    event = make(settlement)
    event["uuid"] = settlement.task_id
    if settlement.state == states.REVOKED:
        event["signum"] = signum
    return event


def sent(headers: Mapping[str, Any], exchange: str, routing_key: str) -> Event:
    """Return the ``task-sent`` of a message; without an exchange, ``routing_key`` is its queue."""
    return {
        "type": "task-sent",
        "uuid": headers["id"],
        "root_id": headers.get("root_id"),
        "parent_id": headers.get("parent_id"),
        "name": headers.get("shadow") or headers["task"],
        "args": headers.get("argsrepr"),
        "kwargs": headers.get("kwargsrepr"),
        "retries": headers.get("retries", 0),
        "eta": headers.get("eta"),
        "expires": headers.get("expires"),
        "queue": routing_key if not exchange else None,
        "exchange": exchange,
        "routing_key": routing_key,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


def _succeeded(settlement: Settlement) -> Event:
    return {"type": "task-succeeded", "result": _result(settlement), "runtime": settlement.runtime}


def _failed(settlement: Settlement) -> Event:
    return {"type": "task-failed", "exception": _exception(settlement), "traceback": settlement.traceback}


def _retried(settlement: Settlement) -> Event:
    return {"type": "task-retried", "exception": _exception(settlement), "traceback": settlement.traceback}


def _revoked(settlement: Settlement) -> Event:
    reason = str(decode_exception(settlement.result))
    return {"type": "task-revoked", "terminated": reason == "terminated", "expired": reason == "expired"}


def _rejected(settlement: Settlement) -> Event:
    return {"type": "task-rejected", "requeue": False}


_ENDS = {
    states.SUCCESS: _succeeded,
    states.FAILURE: _failed,
    states.RETRY: _retried,
    states.REVOKED: _revoked,
    states.REJECTED: _rejected,
}


def _exception(settlement: Settlement) -> str:
    return repr_of(settlement.result or "")


def _result(settlement: Settlement) -> str:
    """Return the repr of the value, as far as it is plain JSON, else its text."""
    text = settlement.result
    if text is None:
        return "None"
    if settlement.content_type != JSON or len(text) > _MOST:
        return text[:LIMIT]
    if _SAME.issuperset(text):
        return text
    try:
        return short_repr(json.loads(text))
    except (ValueError, RecursionError):
        return text[:LIMIT]
