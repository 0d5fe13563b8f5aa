"""The events of running a delivery, each with its line of the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from taskq.exceptions import Reject
from taskq.handover import Delivery
from taskq.hooks import Hook
from taskq.log_escapes import get_logger
from taskq.messages.reprs import short_repr
from taskq.tasks.validation import exceptions

from .run import Run
from .tracebacks import log_info

log = get_logger("taskq.worker")


def _label(run: Run) -> str:
    return f"{run.headers.task}[{run.headers.id}]"


# -- ends


@Hook
def task_succeeded(run: Run) -> None:
    if log.isEnabledFor(logging.INFO):  # a repr costs more than the question
        log.info("Task %s succeeded in %.6fs: %s", _label(run), run.runtime, short_repr(run.value))


@Hook
def task_failed(run: Run, error: BaseException) -> None:
    if isinstance(error, Reject):
        log.warning("Task %s rejected: %s", _label(run), short_repr(error))
    elif isinstance(error, exceptions(run.task.throws)):
        log.info("Task %s raised expected: %s", _label(run), short_repr(error))
    else:
        log.error("Task %s raised unexpected: %s", _label(run), short_repr(error), exc_info=log_info(error))


task_retried = Hook[Run](lambda run: log.info("Task %s retry: %s", _label(run), run.exception))
task_expired = Hook[Run](lambda run: log.info("Task %s has expired and is not run.", _label(run)))
task_terminated = Hook[Run](lambda run: log.info("Task %s revoked: it has ended when it was asked to.", _label(run)))
task_ignored = Hook[Run](lambda run: log.info("Task %s ignored", _label(run)))
task_requeued = Hook[Run](
    lambda run: log.warning("Task %s goes back into its queue: %s", _label(run), short_repr(run.exception))
)

rest_not_written = Hook[Run, Exception](
    lambda run, error: log.warning("What follows %s is written by the worker: %s", _label(run), error)
)
result_not_written = Hook[Run, Exception](
    lambda run, error: log.warning("The result of %s is written by the worker: %s", _label(run), error)
)

# -- messages that are not run

task_unknown = Hook[Delivery](
    lambda d: log.error("The task %s[%s] is not known here: is its app in INSTALLED_APPS?", d.name, d.task_id)
)
message_refused = Hook[Delivery, BaseException](
    lambda d, error: log.error("The message of %s[%s] is refused: %s", d.name, d.task_id, error)
)
body_not_read = Hook[Delivery, Exception](
    lambda d, error: log.warning("The body of %s[%s] can't be read from its row: %s", d.name, d.task_id, error)
)
body_gone = Hook[Delivery](
    lambda d: log.error("The message of %s[%s] is dropped: its row is gone, or was altered.", d.name, d.task_id)
)
message_unreadable = Hook[Delivery, BaseException | None](
    lambda d, error: log.error("The message of %s[%s] can't be read.", d.name, d.task_id, exc_info=error)
)

# -- what raised around a run

run_crashed = Hook[Delivery](lambda d: log.exception("Task %s[%s] could not be run to its end.", d.name, d.task_id))
handler_raised = Hook[object, Run](
    lambda handler, run: log.exception("%s of %s raised.", getattr(handler, "__name__", handler), _label(run))
)
conclusion_failed = Hook[Run](lambda run: log.exception("The end of %s could not be told to all.", _label(run)))
errback_raised = Hook[str, Mapping[str, Any]](
    lambda errback, of: log.exception("The errback %s of %s[%s] raised.", errback, of.get("task"), of["id"])
)
follow_ups_unreadable = Hook[str](log.exception, "The follow-ups of %s can't be read.")
transaction_left_open = Hook[Delivery | None, str](
    lambda d, alias: log.warning(
        "%s left a transaction on %r open: it is rolled back.", f"Task {d.name}[{d.task_id}]" if d else "A task", alias
    )
)
state_restored = Hook[Delivery, str](
    lambda d, state: log.info("Task %s[%s] left %s changed: restored.", d.name, d.task_id, state)
)
state_not_restored = Hook[Delivery, str, Exception](
    lambda d, state, error: log.warning(
        "Task %s[%s] left %s changed, which can't be restored (%s): a child is replaced.",
        d.name, d.task_id, state, error,
    )
)  # fmt: skip
cache_failed = Hook[str, Exception](log.warning, "The cache %r can't be set up: %s")
tidying_failed = Hook[()](log.exception, "Connections and caches could not be tidied up.")
