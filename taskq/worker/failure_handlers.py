"""Calls the handlers and sends the signals for tasks that failed with their process: no child can do it.

They are ``on_failure`` and ``after_return``, ``task_failure`` and ``task_postrun``.

The loop must not wait for a project's code. It runs on a thread of its own, in order, with connections of that thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from taskq import signals, states
from taskq.containment import contained
from taskq.exceptions import TaskqError
from taskq.execution.isolation import tidy_connections
from taskq.forks import end_if_forked, forks
from taskq.messages.protocol import MOST_IN_MAIN, decode_message
from taskq.tasks.task import Task

from . import log_lines
from .loop.request import Request

_failures: queue.SimpleQueue[tuple[Request, BaseException]] = queue.SimpleQueue()
_thread: threading.Thread | None = None


def schedule(request: Request, error: BaseException) -> None:
    """Have the task's handler and the signal's receivers called: the task failed with ``error``."""
    global _thread
    if request.task is None:
        return
    _failures.put((request, error))
    if _thread is None or not _thread.is_alive():
        _thread = threading.Thread(target=_work, name="taskq-failure-handlers", daemon=True)
        _thread.start()


def _work() -> None:
    while True:
        request, error = _failures.get()
        with suppress(Exception):
            tidy_connections()
        for call in _calls(request, error):
            _guarded(call, request)
        with suppress(Exception):
            tidy_connections()


def _guarded(call: Callable[[], object], request: Request) -> None:
    """Call code of the project, and log its error. A process that it forks ends here."""
    before = forks()
    try:
        call()
    except contained():
        end_if_forked(before)
        log_lines.failure_handler_raised(request)
    end_if_forked(before)


def _calls(request: Request, error: BaseException) -> list[Callable[[], object]]:
    """Return the calls in the order in which a child makes them."""
    args, kwargs = _arguments(request)
    task, state = cast("Task[..., Any]", request.task), states.FAILURE
    of_task: dict[str, Any] = {"task_id": request.id, "args": args, "kwargs": kwargs}
    failure = {"exception": error, "traceback": None, "einfo": None}
    return [
        partial(task.on_failure, error, request.id, args, kwargs, None),
        partial(signals.send, signals.task_failure, task, **of_task, **failure),
        partial(task.after_return, state, error, request.id, args, kwargs, None),
        partial(signals.send, signals.task_postrun, task, **of_task, task=task, retval=error, state=state),
    ]


def _arguments(request: Request) -> tuple[list[object], dict[str, object]]:
    """Return the arguments, none of a large body. It may be decoded in the main process: this task will not run."""
    try:
        args, kwargs, _ = decode_message(request.message, request.headers.raw, MOST_IN_MAIN)
    except (TaskqError, ValueError, TypeError):
        return [], {}
    return args, kwargs
