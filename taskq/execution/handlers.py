"""Calls the task's handlers, sends signals and logs, when a run has ended.

Nothing here changes the outcome: exceptions of handlers and receivers are logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from taskq import signals, states
from taskq.exceptions import ContentDisallowed, DecodeError, InvalidTaskError, NotRegistered, Reject
from taskq.handover import Outcome
from taskq.messages.reprs import short_repr
from taskq.tasks.task import Task
from taskq.tasks.validation import exceptions

from .run import Run
from .tracebacks import log_info

logger = logging.getLogger("taskq.worker")


def conclude(run: Run, outcome: Outcome) -> Outcome:
    """Report the end of ``run`` to handlers, receivers and the log; return ``outcome``."""
    try:
        _CONCLUDE[outcome.state](run)
        if outcome.state in (states.SUCCESS, states.FAILURE):
            _after_return(run, outcome.state)
        if signals.task_postrun.receivers and outcome.state != states.REVOKED:
            _send_postrun(run, outcome.state)
    except Exception:  # of an exception class's own methods, or of a broken log handler
        logger.exception("The end of %s could not be told to all.", _label(run))
    return outcome


def refuse(run: Run, outcome: Outcome) -> Outcome:
    """Report that a message could not be run; return ``outcome``."""
    error, delivery = run.exception, run.delivery
    name, task_id = delivery.name, delivery.task_id
    signal: dict[str, Any] = {"message": delivery, "exc": error}
    if isinstance(error, NotRegistered):
        logger.error("The task %s[%s] is not known here: is its app in INSTALLED_APPS?", name, task_id)
        signals.send(signals.task_unknown, delivery.hostname, name=name, id=task_id, **signal)
    elif isinstance(error, InvalidTaskError | ContentDisallowed | DecodeError):
        logger.error("The message of %s[%s] is refused: %s", name, task_id, error)
        signals.send(signals.task_rejected, delivery.hostname, **signal)
    else:
        logger.error("The message of %s[%s] can't be read.", name, task_id, exc_info=error)
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
    if logger.isEnabledFor(logging.INFO):
        logger.info("Task %s succeeded in %.6fs: %s", _label(run), run.runtime, short_repr(run.value))
    if _overrides(run, "on_success"):
        _call(run, run.task.on_success, run.value, run.headers.id, run.args, run.kwargs)
    if signals.task_success.receivers:
        signals.send(signals.task_success, run.task, result=run.value, runtime=run.runtime)


def _failed(run: Run) -> None:
    error, einfo = run.exception, run.einfo
    assert error is not None
    _log_failure(run, error)
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


def _log_failure(run: Run, error: BaseException) -> None:
    if isinstance(error, Reject):
        logger.warning("Task %s rejected: %s", _label(run), short_repr(error))
    elif isinstance(error, exceptions(run.task.throws)):
        logger.info("Task %s raised expected: %s", _label(run), short_repr(error))
    else:
        logger.error("Task %s raised unexpected: %s", _label(run), short_repr(error), exc_info=log_info(error))


def _retried(run: Run) -> None:
    again, einfo = run.exception, run.einfo
    cause = run.request.pending_retry.exc if run.request.pending_retry is not None else None
    logger.info("Task %s retry: %s", _label(run), again)
    if _overrides(run, "on_retry"):
        _call(run, run.task.on_retry, cause or again, run.headers.id, run.args, run.kwargs, einfo)
    if signals.task_retry.receivers:
        signals.send(signals.task_retry, run.task, request=run.request, reason=again, einfo=einfo)


def _revoked(run: Run) -> None:
    logger.info("Task %s has expired and is not run.", _label(run))
    signals.send(signals.task_revoked, run.task, request=run.request, terminated=False, signum=None, expired=True)


def _ignored(run: Run) -> None:
    logger.info("Task %s ignored", _label(run))


def _rejected(run: Run) -> None:
    logger.warning("Task %s goes back into its queue: %s", _label(run), short_repr(run.exception))
    signals.send(signals.task_rejected, run.delivery.hostname, message=run.delivery, exc=run.exception)


_CONCLUDE: dict[str, Callable[[Run], None]] = {
    states.SUCCESS: _succeeded,
    states.FAILURE: _failed,
    states.RETRY: _retried,
    states.REVOKED: _revoked,
    states.IGNORED: _ignored,
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
        logger.exception("%s of %s raised.", getattr(handler, "__name__", handler), _label(run))


def _overrides(run: Run, handler: str) -> bool:
    """Tell whether the task has a handler of its own."""
    return getattr(type(run.task), handler) is not getattr(Task, handler)


def _label(run: Run) -> str:
    return f"{run.headers.task}[{run.headers.id}]"


def _retval(run: Run) -> object:
    return run.value if run.exception is None else run.exception
