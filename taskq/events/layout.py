"""The events of tasks in Celery's layout, as JSON text without the fields that all events have. Pure functions.

A busy worker makes three of them for each task. So the usual ones are written field by field, and not by an encoder,
which takes three times as long. ``at`` is everywhere the text of a time, as ``moment`` makes it.

Source: the fields that Celery 5.7's workers send.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from taskq import states
from taskq.calls import masking
from taskq.handover import Report
from taskq.messages.exception_data import decode_exception, repr_of
from taskq.messages.reprs import LIMIT, short_repr
from taskq.messages.serializers import JSON_TYPE
from taskq.records import Settlement
from taskq.worker.loop.request import Request

Event = dict[str, Any]

#: The longest value, in characters, that is read for its repr.
_MOST = 16_384
_NOT_RUNNING = {"terminated": False, "expired": False, "signum": None}
#: The values that are their own repr.
_SAME = frozenset("0123456789")
#: The reprs of the values that most tasks return.
_USUAL = {"null": "None", "true": "True", "false": "False"}


def moment(at: float) -> str:
    """Return a Unix time as a number of JSON, in whole microseconds: the text of a float takes three times as long."""
    return f"{at * 1e6:.0f}e-6"


def received(requests: Iterable[Request], at: str) -> Iterator[str]:
    """Yield ``task-received`` for each request."""
    for request in requests:
        headers = request.headers
        args, kwargs = masking.trusted_reprs(request.name, headers.argsrepr, headers.kwargsrepr)
        yield (
            f'{{"type":"task-received","uuid":{_quoted(request.message.task_id)},'
            f'"name":{_quoted(headers.shadow or request.name)},"args":{_quoted(args)},"kwargs":{_quoted(kwargs)},'
            f'"root_id":{_quoted(headers.root_id)},"parent_id":{_text(headers.parent_id)},'
            f'"retries":{headers.retries},"eta":{_time(headers.eta)},"expires":{_time(headers.expires)},'
            f'"timestamp":{at}'
        )


def _text(value: str | None) -> str:
    return "null" if value is None else _quoted(value)


def _time(value: datetime | None) -> str:
    return "null" if value is None else f'"{value.isoformat()}"'


def started(task_id: str, at: str) -> str:
    """Return ``task-started``."""
    return f'{{"type":"task-started","uuid":{_quoted(task_id)},"timestamp":{at}'


def put_back(request: Request, at: str) -> str:
    """Return the ``task-rejected`` of a message that waits again."""
    return start_of({"type": "task-rejected", "uuid": request.id, "requeue": True}, at)


def ended(settlement: Settlement, at: str, signum: int | None = None) -> str | None:
    """Return the event of an end, ``None`` if there is none: the task was ignored, or replaced.

    ``signum`` is the signal that was asked for, if the task was terminated.
    """
    if not settlement.task_id:
        return None
    if settlement.state == states.SUCCESS:
        return (
            f'{{"type":"task-succeeded","uuid":{_quoted(settlement.task_id)},"result":{_quoted(_result(settlement))},'
            f'"runtime":{_seconds(settlement.runtime)},"timestamp":{at}'
        )
    make = _ENDS.get(settlement.state)
    if make is None:
        return None
    event = {**make(settlement), "uuid": settlement.task_id}
    return start_of(event | {"signum": signum} if settlement.state == states.REVOKED else event, at)


def _seconds(runtime: float | None) -> str:
    """Return seconds as a number of JSON, in whole nanoseconds: as in ``moment``."""
    return "null" if runtime is None else f"{runtime * 1e9:.0f}e-9"


def start_of(event: Event, at: str) -> str:
    """Return an event as JSON text, open at its end."""
    return f'{json.dumps(event)[:-1]},"timestamp":{at}'


def _failed(settlement: Settlement) -> Event:
    event = {"type": "task-failed", "exception": _exception(settlement), "traceback": settlement.traceback}
    return event | _name(settlement)


def _retried(settlement: Settlement) -> Event:
    return {"type": "task-retried", "exception": _exception(settlement), "traceback": settlement.traceback}


def _revoked(settlement: Settlement) -> Event:
    reason = str(decode_exception(settlement.result))
    event = {"type": "task-revoked", "terminated": reason == "terminated", "expired": reason == "expired"}
    return event | _name(settlement)


def _name(settlement: Settlement) -> Event:
    """Return the name of a task that has not run to its end: it may have been refused before it was received."""
    return {"name": _shown_name(settlement)} if settlement.started is None and settlement.name else {}


def _shown_name(settlement: Settlement) -> str:
    return settlement.shadow or settlement.name


def _rejected(settlement: Settlement) -> Event:
    return {"type": "task-rejected", "requeue": False}


_ENDS = {
    states.FAILURE: _failed,
    states.RETRY: _retried,
    states.REVOKED: _revoked,
    states.REJECTED: _rejected,
}


def sent_by_task(report: Report) -> str:
    """Return the event of ``Task.send_event``, whose fields the process of the task has encoded."""
    begin = f'{{"type":{_quoted(report.event)},"uuid":{_quoted(report.task_id)},"timestamp":{moment(report.at)}'
    fields = (report.meta or "{}")[1:-1]
    return f"{begin},{fields}" if fields.strip() else begin


def revoked_unheld(settlement: Settlement) -> Event:
    """Return the ``task-revoked`` of a task that no worker has received: it has the name too."""
    return {"type": "task-revoked", "uuid": settlement.task_id, "name": _shown_name(settlement), **_NOT_RUNNING}


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


def _exception(settlement: Settlement) -> str:
    return repr_of(settlement.result or "")


def _result(settlement: Settlement) -> str:
    """Return the repr of the value, as far as it is plain JSON, else its text."""
    text = settlement.result
    if text is None:
        return "None"
    if settlement.content_type != JSON_TYPE or len(text) > _MOST:
        return text[:LIMIT]
    if usual := _USUAL.get(text):
        return usual
    if _SAME.issuperset(text):
        return text
    try:
        return short_repr(json.loads(text))
    except (ValueError, RecursionError):
        return text[:LIMIT]
