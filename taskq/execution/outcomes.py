"""The ends of a run: each function makes the ``Outcome`` of one kind of end.

Called by ``pipeline``, and by pools for a delivery whose run gave no outcome (``crashed``). The
return value is encoded first: a value that can't be stored is a failure without next steps.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from taskq import states
from taskq.containment import contained
from taskq.exceptions import (
    EncodeError,
    Ignore,
    Reject,
    Retry,
    TaskqError,
    TaskRevokedError,
    TaskTerminated,
    WorkerLostError,
)
from taskq.handover import Delivery, Outcome
from taskq.messages import reprs, values
from taskq.messages.announcing import announce
from taskq.records import FollowUps
from taskq.tasks import retrying
from taskq.workflows import followups

from .interrupts import CutShort
from .run import Run
from .tracebacks import ExceptionInfo, format_exception


def returned(run: Run) -> Outcome:
    """The function has returned ``run.value``."""
    if run.request.pending_retry is not None:
        # After retry(throw=False): the next try needs a state that is not final.
        return retried(run, run.request.pending_retry)
    if run.ignored and not run.request.chord:
        return _outcome(run, states.SUCCESS)
    try:
        text, content_type = values.encode(run.value)
        values.check_result_size(text)
    except EncodeError as error:
        return failed(run, error)
    return _outcome(run, states.SUCCESS, result=text, content_type=content_type)


def raised(run: Run, error: BaseException) -> Outcome:
    """The function has raised ``error``.

    Raises ``CutShort``, and in the main thread, if no other task runs in the process, ``SystemExit`` and
    ``KeyboardInterrupt``.
    """
    if isinstance(error, Retry):
        return retried(run, error)
    if isinstance(error, Ignore):
        run.exception = error
        return _outcome(run, states.IGNORED)
    if isinstance(error, Reject):
        return rejected(run, error)
    if isinstance(error, CutShort):
        run.exit = error
        raise error
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return _asked_to_exit(run, error)
    if isinstance(error, TaskTerminated):
        return revoked(run, "terminated")
    if retrying.should_autoretry(run.task, error):
        try:
            again = retrying.autoretry(run.task, error)
        except Exception as problem:  # wrong retry_kwargs
            return failed(run, problem)
        if again is not None:
            return retried(run, again)
    return failed(run, error)


def _asked_to_exit(run: Run, error: BaseException) -> Outcome:
    """Let a task end its process, but not if other tasks share that process."""
    if not run.shared and threading.current_thread() is threading.main_thread():
        run.exit = error
        raise error
    lost = WorkerLostError(f"The task tried to end its worker: {reprs.short_repr(error)}.")
    lost.__cause__ = error
    return failed(run, lost)


def failed(run: Run, error: BaseException) -> Outcome:
    """The task has failed with ``error``."""
    run.exception = error
    run.einfo = ExceptionInfo(error)
    return _outcome(run, states.FAILURE, result=encoded(error), traceback=run.einfo.traceback)


def retried(run: Run, error: Retry) -> Outcome:
    """The task runs again; the row keeps the cause of the retry."""
    request = run.request
    if request.pending_retry is not error or request.next_try is None:
        try:
            _plan_retry(run, error)
        except Exception as problem:  # no retries left, or an invalid time
            return failed(run, problem)
    assert request.next_try is not None
    # The next try uses the TaskRun of this try, if there is one.
    request.next_try.tracked = not run.delivery.want_arguments
    if not run.inline:
        announce([request.next_try])
    run.exception = error
    cause = error if error.exc is None else error.exc
    run.einfo = ExceptionInfo(cause)
    outcome = _outcome(run, states.RETRY, result=encoded(cause), traceback=run.einfo.traceback)
    outcome.follow_ups = FollowUps([request.next_try])
    return outcome


def _plan_retry(run: Run, error: Retry) -> None:
    """Make the message of the next try for a ``Retry`` that the task raised without ``retry()``."""
    when = error.when
    times: dict[str, Any] = {"countdown": when} if isinstance(when, int | float) else {"eta": when}
    run.task.retry(exc=error.exc, throw=False, **times)
    run.request.pending_retry = error


def rejected(run: Run, error: Reject) -> Outcome:
    """The task rejects its message, which goes back to the queue, or fails."""
    if not error.requeue:
        return failed(run, error)
    run.exception = error
    return _outcome(run, states.REJECTED, result=encoded(error), requeue=True)


def revoked(run: Run, reason: str) -> Outcome:
    """The message has ``expired``, or the task was ``terminated`` and has ended by itself."""
    run.exception = TaskRevokedError(reason)
    return _outcome(run, states.REVOKED, result=encoded(run.exception))


def refused(run: Run, error: BaseException) -> Outcome:
    """The message can't be run: it is malformed, or its task is not registered here."""
    run.exception = error
    run.einfo = ExceptionInfo(error)
    delivery = run.delivery
    return Outcome(
        delivery.job,
        delivery.task_id,
        states.FAILURE,
        result=encoded(error),
        traceback=run.einfo.traceback,
        started=run.started,
    )


def crashed(delivery: Delivery, error: BaseException) -> Outcome:
    """The delivery could not be run, or its outcome could not be sent: it fails with its follow-ups.

    Reads only the message: the cause may be anything else in the run.
    """
    result = encoded(error)
    return Outcome(
        delivery.job,
        delivery.task_id,
        states.FAILURE,
        result,
        traceback=format_exception(error),
        follow_ups=followups.of_message(delivery, states.FAILURE, result),
    )


def encoded(error: BaseException) -> str:
    """Return an exception as data. Never raises in a worker."""
    if isinstance(error, asyncio.CancelledError):
        error = RuntimeError(f"The task was cancelled: {reprs.short_repr(error)}")
    try:
        text = values.encode_exception(error)
        values.check_result_size(text, f"the data of {type(error).__name__}")
        return text
    except EncodeError as too_large:
        return values.encode_exception(too_large)
    except contained():  # an exception class may override any attribute that is read there
        return values.encode_exception(TaskqError(f"{type(error).__name__}, which can't be stored."))


def _outcome(run: Run, state: str, **fields: Any) -> Outcome:
    children = run.request.children
    return Outcome(
        run.delivery.job,
        run.headers.id,
        state,
        started=run.started,
        runtime=run.runtime,
        arguments=run.arguments,
        children=values.encode_children(children) if children else None,
        **fields,
    )
