"""The signals that taskq sends, as ``django.dispatch`` signals with Celery's names.

Connect with Django's ``@receiver``. All signals go through ``send``: exceptions of receivers are
only logged, to ``taskq``, and a signal without receivers costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from django.dispatch import Signal

from taskq.containment import contained
from taskq.hooks import print_error

logger = logging.getLogger("taskq")

# Django compares senders by identity: this keeps the strings of senders alive.
_names: dict[str, str] = {}


def _same_object(sender: Any) -> Any:
    """Return the same object for equal task names."""
    return _names.setdefault(sender, sender) if type(sender) is str else sender


class TaskqSignal(Signal):
    """A Django signal with task names as senders; errors of its receivers go to taskq's log."""

    def connect(self, receiver: Any, sender: Any = None, weak: bool = True, dispatch_uid: Any = None) -> None:
        """Connect as Django's ``Signal.connect`` does; a ``sender`` that is a string matches by its text."""
        super().connect(receiver, _same_object(sender), weak, dispatch_uid)

    def disconnect(self, receiver: Any = None, sender: Any = None, dispatch_uid: Any = None) -> bool:
        """Disconnect a receiver; tell whether it was connected."""
        return bool(super().disconnect(receiver, _same_object(sender), dispatch_uid))

    def _log_robust_failure(self, receiver: Any, err: BaseException) -> None:
        # Django's own method needs a __qualname__, which partials don't have, and logs to another logger.
        try:
            logger.error("The receiver %r of a signal raised %r.", receiver, err, exc_info=err)
        except contained():
            print_error()

    def _live_receivers(self, sender: Any) -> Any:
        """Let ``send_robust``, which catches each ``Exception``, go on after a receiver that asks to exit."""
        found = super()._live_receivers(sender)
        if contained() is Exception:
            return found
        synchronous, asynchronous = found
        return [partial(_without_exit, receiver) for receiver in synchronous], asynchronous


class ReceiverExit(Exception):
    """A receiver of a signal raised ``SystemExit`` or the like in a worker."""


def _without_exit(receiver: Callable[..., Any], **named: Any) -> Any:
    try:
        return receiver(**named)
    except Exception:
        raise
    except BaseException as error:
        raise ReceiverExit(f"The receiver {receiver!r} tried to end its worker.") from error


def send(signal: Signal, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
    """Send ``signal`` to its receivers and return ``(receiver, response or exception)`` of each.

    Never raises an ``Exception``, and nothing at all in a worker: receivers must not make a task fail.
    """
    if not signal.receivers:
        return []
    try:
        return signal.send_robust(sender=_known(sender), **named)
    except contained():
        _log_unsent()
        return []


def _log_unsent() -> None:
    try:
        logger.exception("A signal could not be sent to all of its receivers.")
    except contained():
        print_error()


def _known(sender: Any) -> Any:
    """Return the object with which receivers of this task name were connected, without keeping new names."""
    return _names.get(sender, sender) if type(sender) is str else sender


# -- publishing: sender is the task's name; body is (args, kwargs, embed) ---------------------
#
# The worker sends these for retries and follow-ups (links, chains, chords) too: the first in the process that makes
# the message, the second in its main process after the commit. Receivers delay the sender, in the worker its
# heartbeat: they should be quick.

#: body, exchange, routing_key, headers, properties, declare, retry_policy. Just before a message is sent;
#: receivers may change ``headers``.
before_task_publish = TaskqSignal()
#: body, exchange, routing_key, headers. The message is at the broker, or written in the caller's transaction.
after_task_publish = TaskqSignal()

# -- the life of a task: sender is the task, or its name if no app defines it -------------

#: request. The worker has taken a message. Sent in the worker's main process.
task_received = TaskqSignal()
#: task_id, task, args, kwargs. About to run.
task_prerun = TaskqSignal()
#: task_id, task, args, kwargs, retval, state. Has run, with any end.
task_postrun = TaskqSignal()
#: result, runtime (seconds). Ended well.
task_success = TaskqSignal()
#: request, reason (an exception), einfo. Will run again.
task_retry = TaskqSignal()
#: task_id, exception, args, kwargs, traceback, einfo. Ended with an exception.
task_failure = TaskqSignal()
#: request, terminated, signum, expired. Will not run, or was stopped.
task_revoked = TaskqSignal()
#: task_id, args, kwargs, request, exception, traceback, einfo. taskq itself failed while it ran the task.
task_internal_error = TaskqSignal()
#: name, id, message, exc. A message for a task that no app defines; sender is the worker's node name.
task_unknown = TaskqSignal()
#: message, exc. A message that can't be a task; sender is the worker's node name.
task_rejected = TaskqSignal()

# -- the worker: sender is its node name; sent in the main process -----------------------

#: options. Those of command line and settings (``taskq.worker.main.WorkerConfig``), which receivers may change; nothing
#: is set up yet (Celery: ``celeryd_init``).
worker_starting = TaskqSignal()
#: instance. Set up, but not connected yet (Celery: ``celeryd_after_setup``).
worker_after_setup = TaskqSignal()
#: instance. Before the pool and the broker are started.
worker_init = TaskqSignal()
#: instance. Takes tasks from now on.
worker_ready = TaskqSignal()
#: sig (name of the signal), how ("Warm", "Cold" or "Soft"), exitcode. Was asked to stop.
worker_shutting_down = TaskqSignal()
#: instance. Has stopped.
worker_shutdown = TaskqSignal()

# -- the processes of its pool: there is no sender ----------------------------------------

#: No arguments. Before a fork of a process of the pool; sent in the process that forks.
worker_before_create_process = TaskqSignal()
#: No arguments. Sent in a new process of the pool, before its first task.
worker_process_init = TaskqSignal()
#: pid, exitcode. Sent in a process of the pool that exits normally.
worker_process_shutdown = TaskqSignal()

# -- the worker's logging: there is no sender; loglevel is a number -------------------------

#: loglevel, logfile, format, colorize. With a receiver, taskq only adds ``TaskFilter`` to the handlers, afterwards.
setup_logging = TaskqSignal()
#: logger, loglevel, logfile, format, colorize. The logger ``taskq`` is set up.
after_setup_logger = TaskqSignal()
#: logger, loglevel, logfile, format, colorize. The logger ``taskq.task`` is set up.
after_setup_task_logger = TaskqSignal()
