"""What is told to the user's code after a task's process was killed: ``on_failure`` and ``task_failure``.

No child can call them any more, and the loop must not wait for them: they run on a
thread of their own, in order, with database connections of that thread.
"""

from __future__ import annotations

import queue
import threading
from typing import Any, cast

from django.db import close_old_connections

from taskq import signals
from taskq.exceptions import TaskqError
from taskq.messages.protocol import decode_message
from taskq.tasks.task import Task

from . import log_lines
from .loop.request import Request

_told: queue.SimpleQueue[tuple[Request, BaseException]] = queue.SimpleQueue()
_thread: threading.Thread | None = None


def failed(request: Request, error: BaseException) -> None:
    """Have the task's handlers and the signal's receivers told that the task failed with ``error``."""
    global _thread
    if request.task is None:
        return
    _told.put((request, error))
    if _thread is None or not _thread.is_alive():
        _thread = threading.Thread(target=_tell, name="taskq-afterwards", daemon=True)
        _thread.start()


def _tell() -> None:
    while True:
        request, error = _told.get()
        close_old_connections()
        try:
            _tell_one(request, error)
        except Exception:
            log_lines.failure_handler_raised(request)
        finally:
            close_old_connections()


def _tell_one(request: Request, error: BaseException) -> None:
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
    """Return the arguments, which may be decoded here: this task will not run."""
    try:
        args, kwargs, _ = decode_message(request.message, request.headers.raw)
    except (TaskqError, ValueError, TypeError):
        return [], {}
    return args, kwargs
