"""Refuses to wait for a task within a running task.

``execution`` sets ``running`` in the context in which it calls the task's function. If all children of a worker
waited for tasks, no child would be free to run those: the worker would stand still for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: True while a worker runs a task in this thread or coroutine.
running: ContextVar[bool] = ContextVar("taskq_running", default=False)


def refuse_in_task() -> None:
    """Raise ``RuntimeError`` within a running task."""
    if running.get():
        raise RuntimeError(
            "Never call result.get() within a task! It can bring the worker to a standstill. "
            "Let a callback or a chain go on with the value, or pass disable_sync_subtasks=False."
        )


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Allow ``get()`` within a task. Use it only if workers of another queue run the awaited task.

    Example::

        with allow_join_result():
            value = other_task.apply_async(queue="other").get()
    """
    token = running.set(False)
    try:
        yield
    finally:
        running.reset(token)
