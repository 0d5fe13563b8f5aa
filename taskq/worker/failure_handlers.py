"""Calls ``on_failure`` and sends ``task_failure`` for tasks whose process was killed: no child can do it.

The loop must not wait for a project's code. It runs on a thread of its own, in order, with connections of that thread.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import Any, cast

from django.db import close_old_connections

from taskq import signals
from taskq.containment import contained
from taskq.exceptions import TaskqError
from taskq.forks import end_if_forked, forks
from taskq.messages.protocol import decode_message
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
        before = forks()
        try:
            close_old_connections()
            _call_handlers(request, error)
        except contained():
            end_if_forked(before)
            log_lines.failure_handler_raised(request)
        end_if_forked(before)
        with suppress(Exception):
            close_old_connections()


def _call_handlers(request: Request, error: BaseException) -> None:
    args, kwargs = _arguments(request)
    task = cast("Task[..., Any]", request.task)
    try:
        task.on_failure(error, request.id, args, kwargs, None)
    finally:
        signals.send(
            signals.task_failure,
            task,
            task_id=request.id,
            exception=error,
            args=args,
            kwargs=kwargs,
            traceback=None,
            einfo=None,
        )


def _arguments(request: Request) -> tuple[list[object], dict[str, object]]:
    """Return the arguments. The body may be decoded in the main process: this task will not run."""
    try:
        args, kwargs, _ = decode_message(request.message, request.headers.raw)
    except (TaskqError, ValueError, TypeError):
        return [], {}
    return args, kwargs
