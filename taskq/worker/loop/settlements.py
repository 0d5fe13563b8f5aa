"""How requests end: outcomes and refusals as settlements. Pure but for the log and the signals.

Called on the loop's thread. What a task's own handlers are to hear of an end that no
child could tell (``on_failure`` after a kill) is run by ``afterwards``.
"""

from __future__ import annotations

import time

from taskq import signals, states
from taskq.exceptions import NotRegistered, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from taskq.handover import Outcome, Report
from taskq.messages.exception_data import encode_exception
from taskq.records import Claimed, Progress, Settlement
from taskq.worker import log_lines
from taskq.workflows.followups import complete

from .request import Request


def ignores(request: Request) -> bool:
    """Tell whether the result of a request is ignored: the message says so, or else its task."""
    said = request.headers.ignore_result
    if said is not None:
        return said
    return request.task.ignore_result if request.task else False


def keeps(request: Request, state: str) -> bool:
    """Tell whether a row is to show that a request ended in ``state``."""
    if not ignores(request):
        return True
    if state == states.RETRY:
        return request.message.tracked
    return state == states.FAILURE and request.task is not None and request.task.store_errors_even_if_ignored


def ended(request: Request, outcome: Outcome, hostname: str) -> Settlement:
    """Return the settlement of a run that came to its end."""
    settlement = _settlement(request, outcome.state, outcome.result, hostname)
    settlement.content_type = outcome.content_type
    settlement.traceback = outcome.traceback
    settlement.started = outcome.started
    settlement.finished = outcome.started + outcome.runtime
    settlement.runtime = outcome.runtime
    settlement.arguments = outcome.arguments
    settlement.children = outcome.children
    settlement.follow_ups = outcome.follow_ups
    for envelope in outcome.follow_ups.envelopes:
        if envelope.task_id == request.message.task_id:
            # The next try, or a replacement: it goes back to the queue of this message, and shares its row.
            envelope.queue = envelope.queue or request.message.queue
            # This run's settlement writes the row if there is none yet.
            envelope.tracked = request.message.tracked or keeps(request, states.RETRY)
    return settlement


def refusal(request: Request, hostname: str) -> Settlement | None:
    """Return the settlement of a request that must not run, ``None`` if it may."""
    message = request.message
    if message.revoked or request.revoked:
        return revoked(request, "revoked", hostname)
    if request.expired():
        return revoked(request, "expired", hostname)
    if request.task is None:
        return not_registered(request, hostname)
    if message.redelivered and message.deliveries >= request.max_deliveries:
        return lost(request, too_often(request), hostname)
    return None


def progress(request: Request, report: Report, hostname: str) -> Progress:
    """Return a state of a running task as it is to be written."""
    m, at = request.message, report.at or time.time()
    return Progress(
        m.id, m.task_id, request.name, m.queue, report.state, report.meta, report.content_type, at, hostname
    )


def revoked(request: Request, reason: str, hostname: str, *, signal: str = "") -> Settlement:
    """Return the settlement of a request that does not run, or no more: revoked, expired or terminated."""
    log_lines.task_revoked(request, reason)
    if signals.task_revoked.receivers:
        signals.send(
            signals.task_revoked,
            request.sender,
            request=request,
            terminated=reason == "terminated",
            signum=signal.partition(":")[2] or None,
            expired=reason == "expired",
        )
    return _without_run(request, states.REVOKED, TaskRevokedError(reason), hostname)


def lost(request: Request, reason: str, hostname: str) -> Settlement:
    """Return the settlement of a task whose process ended before it did, for the last time."""
    log_lines.task_lost(request, reason)
    return _failed(request, WorkerLostError(reason), hostname)


def timed_out(request: Request, hostname: str) -> Settlement:
    """Return the settlement of a task that was killed at its time limit."""
    log_lines.task_timed_out(request)
    return _failed(request, TimeLimitExceeded(request.time_limit), hostname)


def not_registered(request: Request, hostname: str) -> Settlement:
    """Return the settlement of a task that no installed app defines."""
    error = NotRegistered(request.name)
    log_lines.task_not_registered(request)
    if signals.task_unknown.receivers:
        signals.send(
            signals.task_unknown, hostname, name=request.name, id=request.id, message=request.message, exc=error
        )
    return _without_run(request, states.FAILURE, error, hostname)


def broken(request: Request, error: Exception, hostname: str) -> Settlement:
    """Return the settlement of a request at which the worker itself fails, whatever its task is made of."""
    log_lines.request_failed(request, error)
    return _failed(request, error, hostname)


def rejected(message: Claimed, error: Exception, hostname: str) -> Settlement:
    """Return the settlement of a message that is no task: a failure on record if it has an id."""
    log_lines.message_rejected(message, error)
    if signals.task_rejected.receivers:
        signals.send(signals.task_rejected, hostname, message=message, exc=error)
    settlement = Settlement(
        message_id=message.id,
        task_id=message.task_id,
        state=states.FAILURE if message.task_id else states.IGNORED,
        queue=message.queue,
        result=encode_exception(error),
        finished=time.time(),
        worker=hostname,
        tracked=message.tracked,
    )
    return complete(settlement, message) if message.task_id else settlement


def too_often(request: Request) -> str:
    """Return why a message does not start again."""
    return f"The task was started {request.message.deliveries} times and each time its process ended before it did."


def _failed(request: Request, error: BaseException, hostname: str) -> Settlement:
    request.failure = error
    return _without_run(request, states.FAILURE, error, hostname)


def _without_run(request: Request, state: str, error: BaseException, hostname: str) -> Settlement:
    """Return the settlement of a task that no process can tell of: what was to follow is in its message."""
    return complete(_settlement(request, state, encode_exception(error), hostname), request.message)


def _settlement(request: Request, state: str, result: str | None, hostname: str) -> Settlement:
    headers, message = request.headers, request.message
    return Settlement(
        message_id=message.id,
        task_id=message.task_id,
        state=state,
        name=headers.task,
        queue=message.queue,
        result=result,
        finished=time.time(),
        retries=headers.retries,
        worker=hostname,
        tracked=message.tracked,
        keep=keeps(request, state),
        root_id=headers.root_id,
        parent_id=headers.parent_id or "",
        group_id=headers.group or "",
        member=bool(headers.group) and headers.group_index is not None,
    )
