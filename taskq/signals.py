"""The signals that taskq sends, as ``django.dispatch`` signals with Celery's names.

Connect with ``@task_prerun.connect``, or with Django's ``@receiver``. All signals go through ``send``: exceptions of
receivers are only logged, to ``taskq``, and a signal without receivers costs nothing.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Any, TypeVar, overload

from django.dispatch import Signal

from taskq.containment import contained
from taskq.hooks import print_error
from taskq.log_escapes import get_logger

logger = get_logger("taskq")

Receiver = TypeVar("Receiver", bound=Callable[..., Any])

#: Seconds after ``connect`` in which an object that dies was never meant to: later it may end with its work.
_SOON = 1.0

# Django compares senders by identity: this keeps the strings of senders alive.
_names: dict[str, str] = {}


def _same_object(sender: Any) -> Any:
    """Return the same object for equal task names."""
    return _names.setdefault(sender, sender) if type(sender) is str else sender


class TaskqSignal(Signal):
    """A Django signal with task names as senders; errors of its receivers go to taskq's log."""

    @overload  # type: ignore[override]
    def connect(
        self, receiver: Receiver, sender: Any = None, weak: bool = True, dispatch_uid: Any = None
    ) -> Receiver: ...
    @overload
    def connect(
        self, receiver: None = None, sender: Any = None, weak: bool = True, dispatch_uid: Any = None
    ) -> Callable[[Receiver], Receiver]: ...
    @overload
    def connect(
        self, receiver: str, *, weak: bool = True, dispatch_uid: Any = None
    ) -> Callable[[Receiver], Receiver]: ...
    def connect(self, receiver: Any = None, sender: Any = None, weak: bool = True, dispatch_uid: Any = None) -> Any:
        """Connect a receiver, and return it: ``@task_prerun.connect``, or ``@task_prerun.connect(sender="shop.add")``.

        Args:
            receiver: a function that takes ``**kwargs``; without it, a decorator is returned.
            sender: only signals of this sender: a task, or a name, which matches by its text.
            weak: keep no reference to the receiver: it is disconnected when nothing else refers to it. If that is
                at once, as with a lambda or a method of an object that nobody keeps, a warning is logged.
            dispatch_uid: connect only one receiver with this value.
        """
        if isinstance(receiver, str):  # @task_prerun.connect("shop.add"), as in Celery
            receiver, sender = None, receiver
        if receiver is None:
            return lambda function: self.connect(function, sender, weak, dispatch_uid)
        super().connect(receiver, _same_object(sender), weak, dispatch_uid)
        if weak:
            self._say_if_lost(receiver)
        return receiver

    def _say_if_lost(self, receiver: Any) -> None:
        """Have a warning logged if ``receiver`` is collected while it is connected."""
        entries = reversed(list(self.receivers))
        reference = next((entry[1] for entry in entries if _is_reference_to(entry[1], receiver)), None)
        if reference is not None:  # the receiver of this dispatch_uid may be another one
            owner = receiver.__self__ if isinstance(receiver, MethodType) else receiver
            shown = getattr(receiver, "__qualname__", None) or type(receiver).__qualname__
            soon = None if isinstance(owner, FunctionType) else time.monotonic() + _SOON
            weakref.finalize(owner, self._say_lost, reference, shown, soon).atexit = False

    def _say_lost(self, reference: Any, shown: str, until: float | None) -> None:
        """Log that a receiver is gone, unless it was disconnected, or belonged to an object that has lived."""
        # Without the signal's lock: the garbage collector may have interrupted a holder.
        if any(entry[1] is reference for entry in self.receivers) and (until is None or time.monotonic() < until):
            logger.warning(
                "The receiver %s of the signal %s is gone: it was connected weakly, and nothing else refers to it. "
                "Keep a reference, or connect it with weak=False.",
                shown,
                _name_of(self),
            )

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


def _is_reference_to(reference: Any, receiver: Any) -> bool:
    found = reference() if isinstance(reference, weakref.ReferenceType) else None
    return found is receiver or (isinstance(found, MethodType) and found == receiver)


def _name_of(signal: Signal) -> str:
    return next((name for name, value in globals().items() if value is signal), "of the application")


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
#: request, terminated, signum, expired. Will not run, or was stopped; signum is the number of the signal, or None.
task_revoked = TaskqSignal()
#: task_id, args, kwargs, request, exception, traceback, einfo. taskq itself failed while it ran the task.
task_internal_error = TaskqSignal()
#: name, id, message, exc. A message for a task that no app defines; sender is the worker's node name.
task_unknown = TaskqSignal()
#: message, exc. A message that can't be a task; sender is the worker's node name.
task_rejected = TaskqSignal()

# -- the worker, sent in its main process -------------------------------------------------
#
# Sender is the node's name, or else the worker itself (``taskq.worker.node.WorkerNode``), which has a ``hostname``.

#: instance, conf, options. Options are those of command line and settings (``taskq.worker.main.WorkerConfig``), which
#: receivers may change; instance is the same object, because there is no worker yet, and has a ``hostname``; conf
#: has the settings ``TASKQ_...`` without that prefix. Nothing is set up (Celery: ``celeryd_init``). Sender: the name.
worker_starting = TaskqSignal()
#: instance, conf. Set up, but not connected yet (Celery: ``celeryd_after_setup``). Sender: the name.
worker_after_setup = TaskqSignal()
#: instance. Before the pool and the broker are started. Sender: the worker.
worker_init = TaskqSignal()
#: instance. Takes tasks from now on. Sender: the worker.
worker_ready = TaskqSignal()
#: No arguments. The worker has renewed its lease in the database, some seconds after the last time; sent on its store
#: thread, and not while the database is away. Sender: ``taskq.worker.duties.lease.WorkerLease``.
heartbeat_sent = TaskqSignal()
#: sig (name of the signal), how ("Warm", "Cold" or "Soft"), exitcode. Was asked to stop. Sender: the name.
worker_shutting_down = TaskqSignal()
#: instance. Has stopped. Sender: the worker.
worker_shutdown = TaskqSignal()

# -- the processes of its pool: sender is the node's name --------------------------------
#
# With the pool solo the last two are sent too, in the thread that runs the tasks.

#: No arguments. Before a fork of a process of the pool; sent in the process that forks.
worker_before_create_process = TaskqSignal()
#: No arguments. Sent in a new process of the pool, before its first task.
worker_process_init = TaskqSignal()
#: pid, exitcode. Sent in a process of the pool that exits normally.
worker_process_shutdown = TaskqSignal()

# -- any process of the project: sender is the AppConfig of taskq -------------------------

#: No arguments. taskq's app is about to import ``tasks.py`` of the apps; receivers may import more modules with tasks.
#: Connect it in an app that stands before ``"taskq"`` in ``INSTALLED_APPS``.
import_modules = TaskqSignal()

# -- the worker's logging: there is no sender; loglevel is a number -------------------------

#: loglevel, logfile, format, colorize. With a receiver, taskq only adds ``TaskFilter`` to the handlers, afterwards.
setup_logging = TaskqSignal()
#: logger, loglevel, logfile, format, colorize. The logger ``taskq`` is set up.
after_setup_logger = TaskqSignal()
#: logger, loglevel, logfile, format, colorize. The logger ``taskq.task`` is set up.
after_setup_task_logger = TaskqSignal()
