"""``chain``: tasks that run one after the other, each with the value of the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from taskq.workflows.depth import limit_depth

from .signature import Signature, signatures

if TYPE_CHECKING:
    from taskq.results.async_result import AsyncResult

__all__ = ["chain"]

R = TypeVar("R")


@Signature.register_type()
class chain(Signature[R]):
    """Tasks in a row: ``chain(add.s(2, 2), mul.s(8))``, which is ``add.s(2, 2) | mul.s(8)``.

    Takes signatures, or one iterable of them. A group that something follows becomes a
    chord. Empty groups are left out, and a group of one that follows a task is that one.
    Arguments and options of a call are the first task's; ``link`` is the last
    one's, ``link_error`` everyone's. The result is the last one's. An empty chain does
    nothing: calling it returns ``None``.
    """

    __slots__ = ()

    def __init__(self: chain[Any], *tasks: Any, **options: Any) -> None:
        from .operators import joined

        with limit_depth():
            steps = joined(_given(tasks))
        super().__init__("celery.chain", (), {"tasks": steps}, options, subtask_type="chain")

    @classmethod
    def _rebuilt(cls, fields: Mapping[str, Any]) -> Signature[Any]:
        made = super()._rebuilt(fields)
        made.kwargs["tasks"] = [Signature.from_dict(task) for task in made.kwargs.get("tasks") or ()]
        return made

    @property
    def tasks(self) -> list[Signature[Any]]:
        """The steps, the first one first."""
        tasks: list[Signature[Any]] = self.kwargs["tasks"]
        return tasks

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Send it; the arguments are the first task's. ``None`` for an empty chain."""
        return self.apply_async(args, kwargs)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks)) or "chain()"


def _given(tasks: tuple[Any, ...]) -> list[Signature[Any]]:
    if len(tasks) == 1 and not isinstance(tasks[0], Mapping):
        tasks = tasks[0]
    return signatures(tasks, "chain()")
