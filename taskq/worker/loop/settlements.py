"""Settlements of requests: after an outcome, a refusal, or the loss of a child. Only logs and sends signals.

Called on the loop's thread. ``failure_handlers`` calls the handlers of a task whose child was killed.
"""

from __future__ import annotations

from dataclasses import replace

from taskq import clock, signals, states
from taskq.exceptions import NotRegistered, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from taskq.handover import Outcome, Report
from taskq.messages.exception_data import encode_exception
from taskq.records import Claimed, Progress, Settlement
from taskq.worker import log_lines
from taskq.worker.pools.base import LostChild
from taskq.worker.process.system import signal_number
from taskq.workflows.followups import complete

from .request import Request


def ignores(request: Request) -> bool:
    """Tell whether the result of a request is ignored: the message says so, or else its task."""
    said = request.headers.ignore_result
    if said is not None:
        return said
    return request.task.ignore_result if request.task else False


def keeps(request: Request, state: str) -> bool:
    """Tell whether a TaskRun is to show that a request ended in ``state``."""
    if not ignores(request):
        return True
    if state == states.RETRY:
        return request.message.tracked
    return state == states.FAILURE and request.task is not None and request.task.store_errors_even_if_ignored


def ended(request: Request, outcome: Outcome, hostname: str) -> Settlement:
    """Return the settlement of a run with an Outcome."""
    finished = outcome.started + outcome.runtime
    settlement = _settlement(request, outcome.state, outcome.result, hostname, finished)
    settlement.content_type = outcome.content_type
    settlement.traceback = outcome.traceback
    settlement.started = outcome.started
    settlement.runtime = outcome.runtime
    if request.message.created is not None:
        settlement.waited = max(0.0, outcome.started - request.message.created)
    settlement.arguments = outcome.arguments
    settlement.children = outcome.children
    settlement.result_row, settlement.result_size = outcome.result_row, outcome.result_size
    settlement.follow_ups = outcome.follow_ups
    for envelope in outcome.follow_ups.envelopes:
        if envelope.task_id == request.message.task_id:
            # The next attempt, or a replacement: it goes to the queue of this message, and shares its TaskRun.
            envelope.queue = envelope.queue or request.message.queue
            # This settlement writes the TaskRun if there is none yet.
            envelope.tracked = request.message.tracked or keeps(request, states.RETRY)
    return settlement


def must_not_run(request: Request, hostname: str) -> Settlement | None:
    """Return the settlement of a request that was revoked or has expired, ``None`` for any other."""
    if request.message.revoked or request.revoked:
        return revoked(request, "revoked", hostname)
    return revoked(request, "expired", hostname) if request.expired() else None


def can_not_run(request: Request, hostname: str) -> Settlement | None:
    """Return the settlement of a request of an unknown task, or of one that was lost too often; ``None`` if it may."""
    message = request.message
    if request.task is None:
        return not_registered(request, hostname)
    if message.redelivered and message.deliveries >= request.max_deliveries:
        return lost(request, _ended_before(message), hostname)
    return None


def given_up(message: Claimed, name: str, hostname: str) -> Settlement:
    """Return the settlement of a message whose refusal kills workers too: nothing of it is read.

    Its dependents are looked up in the rows of its workflow; errbacks are not called.
    """
    error = WorkerLostError(_ended_before(message))
    log_lines.message_given_up(message, name, str(error))
    return _unread(message, replace(message, headers="unread", body="unread"), error, hostname, name)


def _ended_before(message: Claimed) -> str:
    return f"The task was started {message.deliveries} times and each time its process ended before it did."


def progress(request: Request, report: Report, hostname: str) -> Progress:
    """Return the reported state of a running task, as the ledger writes it."""
    m, at = request.message, report.at or clock.now()
    return Progress(
        m.id, m.task_id, request.name, m.queue, report.state, report.meta, report.content_type, at, hostname
    )


def running(request: Request, seconds: float, hostname: str) -> Progress:
    """Return the progress of a task that runs since ``seconds`` ago and has reported no state."""
    m = request.message
    return Progress(
        m.id, m.task_id, request.name, m.queue, None, None, "application/json", clock.now() - seconds, hostname
    )


def revoked(request: Request, reason: str, hostname: str, *, signal: str = "") -> Settlement:
    """Return the settlement of a task that was revoked, has expired, or was terminated."""
    name = signal.partition(":")[2]
    signum = signal_number(name) if name else None
    log_lines.task_revoked(request, reason, signum)
    if signals.task_revoked.receivers:
        signals.send(
            signals.task_revoked,
            request.sender,
            request=request,
            terminated=reason == "terminated",
            signum=signum,
            expired=reason == "expired",
        )
    return _without_run(request, states.REVOKED, TaskRevokedError(reason), hostname)


def after_loss(request: Request, child: LostChild, hostname: str) -> Settlement | None:
    """Return the settlement of a request that ran in a lost child, ``None`` if it is to run again."""
    if child.killed_for == "time_limit":
        return timed_out(request, hostname)
    if child.killed_for is not None:
        return revoked(request, "terminated", hostname, signal=child.killed_for)
    if not request.acks_late or request.starts >= request.max_deliveries:
        return lost(request, child.reason, hostname)
    return None


def lost(request: Request, reason: str, hostname: str) -> Settlement:
    """Return the settlement of a task that was lost with its process and does not run again."""
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
    """Return the settlement of a task whose options or methods raise an error in the main process."""
    log_lines.request_failed(request, error)
    return _failed(request, error, hostname)


def rejected(message: Claimed, error: Exception, hostname: str) -> Settlement:
    """Return the settlement of a message that is no task: a FAILURE if the message has an id."""
    log_lines.message_rejected(message, error)
    if signals.task_rejected.receivers:
        signals.send(signals.task_rejected, hostname, message=message, exc=error)
    return _unread(message, message, error, hostname)


def _unread(message: Claimed, known: Claimed, error: Exception, hostname: str, name: str = "") -> Settlement:
    """Return the settlement of a message without a request; its follow-ups are those of ``known``."""
    settlement = Settlement(
        message_id=message.id,
        task_id=message.task_id,
        state=states.FAILURE if message.task_id else states.IGNORED,
        name=name,
        queue=message.queue,
        result=encode_exception(error),
        finished=clock.now(),
        worker=hostname,
        tracked=message.tracked,
    )
    return complete(settlement, known) if message.task_id else settlement


def _failed(request: Request, error: BaseException, hostname: str) -> Settlement:
    request.failure = error
    return _without_run(request, states.FAILURE, error, hostname)


def _without_run(request: Request, state: str, error: BaseException, hostname: str) -> Settlement:
    """Return the settlement of a task that ends without an Outcome: its follow-ups come from its message."""
    return complete(_settlement(request, state, encode_exception(error), hostname, clock.now()), request.message)


def _settlement(request: Request, state: str, result: str | None, hostname: str, finished: float) -> Settlement:
    headers, message = request.headers, request.message
    return Settlement(
        message_id=message.id,
        task_id=message.task_id,
        state=state,
        name=headers.task,
        queue=message.queue,
        result=result,
        finished=finished,
        retries=headers.retries,
        worker=hostname,
        tracked=message.tracked,
        keep=keeps(request, state),
        root_id=headers.root_id,
        parent_id=headers.parent_id or "",
        group_id=headers.group or "",
        member=bool(headers.group) and headers.group_index is not None,
    )
