"""Calls the task's handlers, sends signals and logs, when a run has ended.

Nothing here changes the outcome: exceptions of handlers and receivers are logged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq import signals, states
from taskq.containment import contained
from taskq.exceptions import ContentDisallowed, DecodeError, InvalidTaskError, NotRegistered
from taskq.handover import Outcome
from taskq.tasks.task import Task

from . import log_lines
from .run import Run


def conclude(run: Run, outcome: Outcome) -> Outcome:
    """Report the end of ``run`` to handlers, receivers and the log; return ``outcome``."""
    try:
        _CONCLUDE[outcome.state](run)
        if outcome.state in (states.SUCCESS, states.FAILURE):
            _after_return(run, outcome.state)
        if signals.task_postrun.receivers and outcome.state != states.REVOKED:
            _send_postrun(run, outcome.state)
    except contained():  # of an exception class's own methods
        log_lines.conclusion_failed(run)
    return outcome


#: The signals and the handlers of a run's end.
_SIGNALS = (
    signals.task_success, signals.task_failure, signals.task_retry, signals.task_revoked, signals.task_rejected,
    signals.task_postrun,
)  # fmt: skip
_HANDLERS = ("on_success", "on_failure", "on_retry", "after_return")


def calls_project(run: Run) -> bool:
    """Tell whether ``conclude`` may call code of the project, which may block."""
    return any(signal.receivers for signal in _SIGNALS) or any(_overrides(run, handler) for handler in _HANDLERS)


def refuse(run: Run, outcome: Outcome) -> Outcome:
    """Report that a message could not be run; return ``outcome``."""
    error, delivery = run.exception, run.delivery
    signal: dict[str, Any] = {"message": delivery, "exc": error}
    if isinstance(error, NotRegistered):
        log_lines.task_unknown(delivery)
        signals.send(signals.task_unknown, delivery.hostname, name=delivery.name, id=delivery.task_id, **signal)
    elif isinstance(error, InvalidTaskError | ContentDisallowed | DecodeError):
        log_lines.message_refused(delivery, error)
        signals.send(signals.task_rejected, delivery.hostname, **signal)
    else:
        log_lines.message_unreadable(delivery, error)
        _send_internal_error(run)
    return outcome


def _send_internal_error(run: Run) -> None:
    error = run.exception
    assert error is not None
    signals.send(
        signals.task_internal_error,
        run.delivery.name,
        task_id=run.delivery.task_id,
        args=None,
        kwargs=None,
        request=None,
        exception=error,
        traceback=error.__traceback__,
        einfo=run.einfo,
    )


# -- one function for each end -------------------------------------------------------------


def _succeeded(run: Run) -> None:
    log_lines.task_succeeded(run)
    if _overrides(run, "on_success"):
        _call(run, run.task.on_success, run.value, run.headers.id, run.args, run.kwargs)
    if signals.task_success.receivers:
        signals.send(signals.task_success, run.task, result=run.value, runtime=run.runtime)


def _failed(run: Run) -> None:
    error, einfo = run.exception, run.einfo
    assert error is not None
    log_lines.task_failed(run, error)
    if _overrides(run, "on_failure"):
        _call(run, run.task.on_failure, error, run.headers.id, run.args, run.kwargs, einfo)
    if signals.task_failure.receivers:
        signals.send(
            signals.task_failure,
            run.task,
            task_id=run.headers.id,
            exception=error,
            args=run.args,
            kwargs=run.kwargs,
            traceback=error.__traceback__,
            einfo=einfo,
        )


def _retried(run: Run) -> None:
    again, einfo = run.exception, run.einfo
    cause = run.request.pending_retry.exc if run.request.pending_retry is not None else None
    log_lines.task_retried(run)
    if _overrides(run, "on_retry"):
        _call(run, run.task.on_retry, again if cause is None else cause, run.headers.id, run.args, run.kwargs, einfo)
    if signals.task_retry.receivers:
        signals.send(signals.task_retry, run.task, request=run.request, reason=again, einfo=einfo)


def _revoked(run: Run) -> None:
    # A task that was asked to end, and did so by itself, got no signal.
    expired = str(run.exception) == "expired"
    (log_lines.task_expired if expired else log_lines.task_terminated)(run)
    signals.send(
        signals.task_revoked, run.task, request=run.request, terminated=not expired, signum=None, expired=expired
    )


def _rejected(run: Run) -> None:
    log_lines.task_requeued(run)
    signals.send(signals.task_rejected, run.delivery.hostname, message=run.delivery, exc=run.exception)


_CONCLUDE: dict[str, Callable[[Run], None]] = {
    states.SUCCESS: _succeeded,
    states.FAILURE: _failed,
    states.RETRY: _retried,
    states.REVOKED: _revoked,
    states.IGNORED: log_lines.task_ignored,
    states.REJECTED: _rejected,
}


def _after_return(run: Run, state: str) -> None:
    if _overrides(run, "after_return"):
        _call(run, run.task.after_return, state, _retval(run), run.headers.id, run.args, run.kwargs, run.einfo)


def _send_postrun(run: Run, state: str) -> None:
    signals.send(
        signals.task_postrun,
        run.task,
        task_id=run.headers.id,
        task=run.task,
        args=run.args,
        kwargs=run.kwargs,
        retval=_retval(run),
        state=state,
    )


# -- parts -----------------------------------------------------------------------------------


def _call(run: Run, handler: Callable[..., object], *args: object) -> None:
    """Call a handler. The task's end is certain already: even an exit is only logged."""
    try:
        handler(*args)
    except BaseException as error:
        if run.inline and isinstance(error, KeyboardInterrupt):
            raise  # the caller's own Ctrl-C
        log_lines.handler_raised(handler, run)


def _overrides(run: Run, handler: str) -> bool:
    """Tell whether the task has a handler of its own."""
    return getattr(type(run.task), handler) is not getattr(Task, handler)


def _retval(run: Run) -> object:
    return run.value if run.exception is None else run.exception
