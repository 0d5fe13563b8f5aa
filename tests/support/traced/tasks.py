"""Tasks whose spans are read."""

from __future__ import annotations

from typing import Any

from taskq import Task, current_task, task


@task
def headers(*values: Any) -> dict[str, Any]:
    """Return the headers that came with the message, beside those of the protocol."""
    return dict(current_task.request.headers or {})


@task
def sends() -> str:
    """Send a task from within."""
    return headers.delay().id


@task
def fails(*values: Any) -> None:
    """Fail."""
    raise ValueError("no such thing")


@task(bind=True, max_retries=2)
def tried_again(self: Task[..., Any]) -> dict[str, Any]:
    """Succeed at the second try."""
    if self.request.retries:
        return dict(self.request.headers or {})
    raise self.retry(countdown=0)


@task
def told(request: Any, error: BaseException, traceback: Any) -> None:
    """Be an errback."""
