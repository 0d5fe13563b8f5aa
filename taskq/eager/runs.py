"""Runs one task to its end, and writes its TaskRun with ``TASKQ_STORE_EAGER_RESULT``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from taskq import states
from taskq.conf import settings
from taskq.execution.inline import InlineRun, run_inline
from taskq.handover import Report
from taskq.messages import values
from taskq.records import NO_FOLLOW_UPS, Envelope, Settlement
from taskq.results.eager import EagerResult
from taskq.workflows.plan import is_member

__all__ = ["result_of", "run_to_end", "settlement_of", "store", "store_failure", "throws"]


def run_to_end(envelope: Envelope) -> tuple[Envelope, InlineRun]:
    """Run one task with its retries; return the message of the last try, and its run."""
    run = _run(envelope)
    while run.outcome.state == states.RETRY and run.outcome.follow_ups:
        (envelope,) = run.outcome.follow_ups.envelopes
        run = _run(envelope)
    return envelope, run


def throws(state: str, throw: bool | None) -> bool:
    """Tell whether the call raises the exception of a task: with ``throw``, by default ``TASKQ_EAGER_PROPAGATES``."""
    return state == states.FAILURE and (settings.EAGER_PROPAGATES if throw is None else throw)


def _run(envelope: Envelope) -> InlineRun:
    return run_inline(envelope, _reporter(envelope))


def result_of(envelope: Envelope, run: InlineRun) -> EagerResult[Any]:
    """Return the result of a task that has run here."""
    failed = run.outcome.state in states.EXCEPTION_STATES
    value = run.exception if failed else values.decode(run.outcome.result, run.outcome.content_type)
    return EagerResult(
        envelope.task_id,
        value,
        run.outcome.state,
        run.outcome.traceback,
        name=envelope.name,
        args=run.args,
        kwargs=run.kwargs,
        retries=envelope.headers["retries"],
        queue=envelope.queue,
        date_done=datetime.now(UTC),
        children=run.children,
    )


def settlement_of(envelope: Envelope, run: InlineRun) -> Settlement:
    """Return the settlement of a run."""
    outcome = run.outcome
    return replace(
        _settlement(envelope, outcome.state, outcome.result, outcome.content_type),
        traceback=outcome.traceback,
        started=outcome.started,
        finished=outcome.started + outcome.runtime,
        runtime=outcome.runtime,
        children=outcome.children,
        member=is_member(envelope.headers),
        follow_ups=outcome.follow_ups,
    )


def _settlement(envelope: Envelope, state: str, result: str | None, content_type: str) -> Settlement:
    headers = envelope.headers
    return Settlement(
        message_id=0,
        task_id=envelope.task_id,
        state=state,
        name=envelope.name,
        queue=envelope.queue,
        result=result,
        content_type=content_type,
        retries=headers["retries"],
        tracked=False,
        arguments=envelope.arguments,
        root_id=headers.get("root_id") or "",
        parent_id=headers.get("parent_id") or "",
        group_id=headers.get("group") or "",
    )


# -- rows, with TASKQ_STORE_EAGER_RESULT ----------------------------------------------------


def _reporter(envelope: Envelope) -> Callable[[Report], None] | None:
    """Return the function that writes a running task's custom states."""
    if not settings.STORE_EAGER_RESULT:
        return None
    return lambda report: _write(_settlement(envelope, report.state, report.meta, report.content_type))


def store(envelope: Envelope, run: InlineRun) -> None:
    """Write the end of a run."""
    settlement = settlement_of(envelope, run)
    if settings.STORE_EAGER_RESULT and settlement.state in states.READY_STATES:
        keep = not (run.ignored and settlement.state == states.SUCCESS)
        _write(replace(settlement, keep=keep, member=False, follow_ups=NO_FOLLOW_UPS))


def store_failure(task_id: str, name: str, error: str) -> None:
    """Write the failure of a task that never runs because of ``error``."""
    if settings.STORE_EAGER_RESULT:
        _write(Settlement(0, task_id, states.FAILURE, name=name, result=error, tracked=False))


def _write(settlement: Settlement) -> None:
    from taskq.engines import for_alias
    from taskq.store.settle import write_ends

    engine = for_alias(settings.DATABASE)
    with engine.atomic():
        write_ends(engine, [settlement])
