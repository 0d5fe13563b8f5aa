"""Whether this code is part of a running task: there, waiting for another task is refused.

``worker.execution`` sets ``running`` around the task's function. A worker whose
children all wait for tasks that no child is free to run stands still for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: True while a worker runs a task in this thread or coroutine.
running: ContextVar[bool] = ContextVar("taskq_running", default=False)


def refuse_in_task() -> None:
    """Raise ``RuntimeError`` when called from within a running task."""
    if running.get():
        raise RuntimeError(
            "Never call result.get() within a task! It can bring the worker to a standstill. "
            "Let a callback or a chain go on with the value, or pass disable_sync_subtasks=False."
        )


@contextmanager
def inside_task() -> Iterator[None]:
    """Mark what runs in this context as a task."""
    token = running.set(True)
    try:
        yield
    finally:
        running.reset(token)


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Allow ``get()`` within a task, for code that knows that another queue's worker runs what it waits for."""
    token = running.set(False)
    try:
        yield
    finally:
        running.reset(token)
