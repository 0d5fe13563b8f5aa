"""How a run can end: each function here makes the ``Outcome`` of one way.

Called by ``pipeline``, and by pools for a delivery whose run gave no outcome (``crashed``).
What the function returned is encoded first: a value that can't be stored is a failure, and
nothing follows from it.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from taskq import states
from taskq.exceptions import EncodeError, Ignore, Reject, Retry, TaskRevokedError, WorkerLostError
from taskq.handover import Delivery, Outcome
from taskq.messages import reprs, values
from taskq.messages.announcing import announce
from taskq.messages.protocol.build import arguments_text
from taskq.records import FollowUps
from taskq.tasks import retrying
from taskq.workflows import followups

from .run import Run
from .tracebacks import ExceptionInfo, format_exception


def returned(run: Run) -> Outcome:
    """The function has returned ``run.value``."""
    if run.request.pending_retry is not None:
        # retry(throw=False): a final state would make the next try one too many.
        return retried(run, run.request.pending_retry)
    if run.ignored and not run.request.chord:
        return _outcome(run, states.SUCCESS)
    try:
        text, content_type = values.encode(run.value)
    except EncodeError as error:
        return failed(run, error)
    return _outcome(run, states.SUCCESS, result=text, content_type=content_type)


def raised(run: Run, error: BaseException) -> Outcome:
    """The function has raised ``error``. Raises what is meant to end the process."""
    if isinstance(error, Retry):
        return retried(run, error)
    if isinstance(error, Ignore):
        run.exception = error
        return _outcome(run, states.IGNORED)
    if isinstance(error, Reject):
        return rejected(run, error)
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return _told_to_end(run, error)
    if retrying.should_autoretry(run.task, error):
        try:
            again = retrying.autoretry(run.task, error)
        except Exception as problem:  # wrong retry_kwargs
            return failed(run, problem)
        if again is not None:
            return retried(run, again)
    return failed(run, error)


def _told_to_end(run: Run, error: BaseException) -> Outcome:
    """End the process with a task that asks for it; a thread, which other tasks share a process with, is kept."""
    if threading.current_thread() is threading.main_thread():
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
    """The task is to run again; what is stored is what went wrong."""
    request = run.request
    if request.pending_retry is not error or request.next_try is None:
        try:
            _plan(run, error)
        except Exception as problem:  # no tries left, or a time that can't be
            return failed(run, problem)
    assert request.next_try is not None
    # What the next try is tracked by is the row of this one, if that has one.
    request.next_try.tracked = not run.delivery.want_arguments
    if not run.inline:
        announce([request.next_try])
    run.exception = error
    cause = error.exc or error
    run.einfo = ExceptionInfo(cause)
    outcome = _outcome(run, states.RETRY, result=encoded(cause), traceback=run.einfo.traceback)
    outcome.follow_ups = FollowUps([request.next_try])
    return outcome


def _plan(run: Run, error: Retry) -> None:
    """Make the next try of a ``Retry`` that the task raised without calling ``retry()``."""
    when = error.when
    times: dict[str, Any] = {"countdown": when} if isinstance(when, int | float) else {"eta": when}
    run.task.retry(exc=error.exc, throw=False, **times)
    run.request.pending_retry = error


def rejected(run: Run, error: Reject) -> Outcome:
    """The task refuses its message: back into the queue, or a failure."""
    if not error.requeue:
        return failed(run, error)
    run.exception = error
    return _outcome(run, states.REJECTED, result=encoded(error), requeue=True)


def expired(run: Run) -> Outcome:
    """The message came too late."""
    run.exception = TaskRevokedError("expired")
    return _outcome(run, states.REVOKED, result=encoded(run.exception))


def refused(run: Run, error: BaseException) -> Outcome:
    """The message can't be run: its task is not known here, or it is none."""
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
    """The delivery could not be run, or its outcome not be handed over: it fails with its follow-ups.

    Reads nothing but the message: whatever else a run knows may be what broke.
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
    """Return an exception as data, whatever it is made of."""
    if isinstance(error, asyncio.CancelledError):
        error = RuntimeError(f"The task was cancelled: {reprs.short_repr(error)}")
    return values.encode_exception(error)


def _outcome(run: Run, state: str, **fields: Any) -> Outcome:
    children = run.request.children
    return Outcome(
        run.delivery.job,
        run.headers.id,
        state,
        started=run.started,
        runtime=run.runtime,
        arguments=_arguments(run) if run.delivery.want_arguments else None,
        children=values.encode_children(children) if children else None,
        **fields,
    )


def _arguments(run: Run) -> str | None:
    """Return the arguments as a row keeps them, without the sensitive ones."""
    task = run.task
    if task.sensitive:
        return arguments_text(*reprs.mask(run.args, run.kwargs, task.sensitive, task.positions))
    return arguments_text(run.args, run.kwargs)
