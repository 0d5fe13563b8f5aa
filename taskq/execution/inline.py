"""Runs an envelope in the calling thread, as if it had been sent: for eager calls and ``taskq.testing``."""

from __future__ import annotations

import json
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from taskq.handover import Delivery, Outcome
from taskq.messages import values
from taskq.records import Envelope
from taskq.results.async_result import AsyncResult

from .call import callers_connections
from .pipeline import perform
from .run import ReportFn, Run

#: The worker's name in eager runs.
HOSTNAME = "eager@localhost"


@dataclass(slots=True)
class InlineRun:
    """The outcome of an inline run, with the objects from which it was encoded."""

    outcome: Outcome
    exception: BaseException
    args: list[Any]
    kwargs: dict[str, Any]
    children: list[AsyncResult[Any]]
    ignored: bool


def run_inline(envelope: Envelope, report: ReportFn | None = None) -> InlineRun:
    """Run ``envelope`` in this thread, with the caller's connections, transactions and language."""
    run = Run(delivery_of(envelope), report, None, inline=True)
    context = copy_context()
    context.run(callers_connections.set, True)
    outcome = context.run(perform, run)
    read = hasattr(run, "request")
    return InlineRun(
        outcome,
        values.decode_exception(outcome.result) if run.exception is None else run.exception,
        run.args if read else [],
        run.kwargs if read else {},
        run.request.children if read else [],
        run.ignored if read else False,
    )


def delivery_of(envelope: Envelope, job: int = 0, hostname: str = HOSTNAME) -> Delivery:
    """Return the delivery of ``envelope``, as a worker would get it."""
    body = envelope.body if isinstance(envelope.body, str) else envelope.body.decode()
    return Delivery(
        job,
        envelope.task_id,
        envelope.name,
        json.dumps(envelope.headers),
        body,
        envelope.content_type,
        envelope.content_encoding,
        json.dumps(envelope.properties),
        envelope.exchange,
        envelope.routing_key or envelope.queue,
        envelope.priority,
        False,
        0,
        hostname,
    )
