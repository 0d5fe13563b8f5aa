"""``current_task``: a proxy for the task that runs in this thread or coroutine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from taskq.calls.context import current

if TYPE_CHECKING:
    from .task import Task

__all__ = ["current_task"]


class _CurrentTask:
    """A proxy for the task that runs here; false if no task runs."""

    def _get(self) -> Task[..., Any] | None:
        context = current()
        return cast("Task[..., Any]", context.definition) if context is not None else None

    def __getattr__(self, name: str) -> Any:
        if (task := self._get()) is None:
            raise AttributeError(f"No task is running here, so current_task has no {name!r}.")
        return getattr(task, name)

    def __bool__(self) -> bool:
        return self._get() is not None

    def __eq__(self, other: object) -> bool:
        return self._get() == other

    def __hash__(self) -> int:
        return hash(self._get())

    def __repr__(self) -> str:
        return repr(self._get())


if TYPE_CHECKING:
    current_task: Task[..., Any]
else:
    current_task = _CurrentTask()
