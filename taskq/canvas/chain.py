"""``chain``: tasks that run one after the other, each with the value of its predecessor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from taskq.workflows.depth import limit_depth

from .signature import Signature, parts_of
from .with_tasks import WithTasks

if TYPE_CHECKING:
    from taskq.results.async_result import AsyncResult

__all__ = ["chain"]

R = TypeVar("R")


@Signature.register_type()
class chain(WithTasks[R]):
    """Tasks in a row: ``chain(add.s(2, 2), mul.s(8))``, which is ``add.s(2, 2) | mul.s(8)``.

    Takes signatures, or one iterable of them. A group with a successor becomes a chord. Empty groups are
    left out; behind a task, a group of one member is replaced by the member. The first task gets the arguments and
    options of a call; the last task gets ``link``, all tasks get ``link_error``. The result is the last
    task's. A call of an empty chain sends nothing and returns ``None``.
    """

    __slots__ = ()

    @overload
    def __init__(self: chain[R], *tasks: *tuple[*tuple[Any, ...], Signature[R]], **options: Any) -> None: ...
    @overload
    def __init__(self: chain[Any], *tasks: Any, **options: Any) -> None: ...
    def __init__(self, *tasks: Any, **options: Any) -> None:  # type: ignore[misc] # it takes what both take
        from .operators import chained_steps

        with limit_depth():
            steps = chained_steps(_signatures_of(tasks))
        super().__init__("celery.chain", (), {"tasks": steps}, options, subtask_type="chain")

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Send the chain with arguments for its first task. Returns ``None`` for an empty chain."""
        return self.apply_async(args, kwargs)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks)) or "chain()"


def _signatures_of(tasks: tuple[Any, ...]) -> list[Signature[Any]]:
    if len(tasks) == 1 and not isinstance(tasks[0], Mapping):
        tasks = tasks[0]
    return parts_of("chain()", tasks)
