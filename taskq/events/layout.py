"""The events of tasks in Celery's layout, as JSON text without the fields that all events have. Pure functions.

Source: the fields that Celery 5.7's workers send.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from json.encoder import encode_basestring_ascii as _quoted
from math import isfinite
from typing import Any

from taskq import states
from taskq.calls.registry import tasks
from taskq.handover import Report
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


class Shape:
    """One kind of event, as the start of its JSON text: the fields that all events have, and the brace, follow it.

    ``text`` writes values in the order of ``names``. It is quicker than an encoder, which knows no fields before.
    """

    __slots__ = ("_template",)

    def __init__(self, kind: str, *names: str) -> None:
        self._template = "".join([f'{{"type":"{kind}"', *[f',"{name}":%s' for name in (*names, "timestamp")]])

    def text(self, *values: Any) -> str:
        """Return the start of an event; the last value is its timestamp."""
        return self._template % tuple([_quoted(v) if type(v) is str else _plain(v) for v in values])


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    # What a foreign sender has put in place of a text.
    return repr(value) if type(value) is float and isfinite(value) else json.dumps(value, default=repr)


_RECEIVED = Shape(
    "task-received", "uuid", "name", "args", "kwargs", "root_id", "parent_id", "retries", "eta", "expires"
)  # fmt: skip
_STARTED = Shape("task-started", "uuid")
_SUCCEEDED = Shape("task-succeeded", "uuid", "result", "runtime")
_FAILED = Shape("task-failed", "uuid", "exception", "traceback")
_RETRIED = Shape("task-retried", "uuid", "exception", "traceback")
_REVOKED = Shape("task-revoked", "uuid", "terminated", "signum", "expired")
_REJECTED = Shape("task-rejected", "uuid", "requeue")


def received(requests: Iterable[Request], at: float) -> Iterator[str]:
    """Yield ``task-received`` for each request. ``at`` is a Unix time, as in all functions here."""
    guarded, text = tasks.guarded, _RECEIVED.text
    for request in requests:
        headers = request.headers
        args, kwargs = (MASK, MASK) if request.name in guarded else (headers.argsrepr, headers.kwargsrepr)
        yield text(
            request.message.task_id, headers.shadow or request.name, args, kwargs, headers.root_id, headers.parent_id,
            headers.retries, _iso(headers.eta), _iso(headers.expires), at,
        )  # fmt: skip


def started(task_id: str, at: float) -> str:
    """Return ``task-started``."""
    return _STARTED.text(task_id, at)


def put_back(request: Request, at: float) -> str:
    """Return the ``task-rejected`` of a message that waits again."""
    return _REJECTED.text(request.id, True, at)


def ended(settlement: Settlement, at: float, signum: str | None = None) -> str | None:
    """Return the event of an end, ``None`` if there is none: the task was ignored, or replaced.

    ``signum`` is the signal that was asked for, if the task was terminated.
    """
    task_id = settlement.task_id
    match settlement.state if task_id else "":
        case states.SUCCESS:
            return _SUCCEEDED.text(task_id, _result(settlement), settlement.runtime, at)
        case states.FAILURE:
            return _FAILED.text(task_id, _exception(settlement), settlement.traceback, at)
        case states.RETRY:
            return _RETRIED.text(task_id, _exception(settlement), settlement.traceback, at)
        case states.REVOKED:
            reason = str(decode_exception(settlement.result))
            return _REVOKED.text(task_id, reason == "terminated", signum, reason == "expired", at)
        case states.REJECTED:
            return _REJECTED.text(task_id, False, at)
    return None


def sent_by_task(report: Report) -> str:
    """Return the event of ``Task.send_event``, whose fields the process of the task has encoded."""
    begin = f'{{"type":{_quoted(report.event)},"uuid":{_quoted(report.task_id)},"timestamp":{report.at!r}'
    fields = (report.meta or "{}")[1:-1]
    return f"{begin},{fields}" if fields.strip() else begin


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
