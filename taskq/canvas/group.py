"""``group``: tasks that run in parallel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from kombu.utils.functional import fxrange

from taskq.workflows.fields import Args, Kwargs

from .signature import Signature, parts_of
from .with_tasks import WithTasks

if TYPE_CHECKING:
    from taskq.results.group_result import GroupResult

__all__ = ["group"]

R = TypeVar("R")
S = TypeVar("S")


@Signature.register_type()
class group(WithTasks[list[R]]):
    """Tasks that run in parallel: ``group(add.s(i, i) for i in range(10))``.

    Takes signatures, or one iterable of them, which is consumed. The result is a ``GroupResult`` with the values in
    the order of the members; nested groups are flattened. Every member gets the arguments and options of a call.
    """

    __slots__ = ()

    @overload
    def __init__(self, tasks: group[R], /, **options: Any) -> None: ...
    @overload
    def __init__(self, /, *tasks: Signature[R], **options: Any) -> None: ...
    @overload
    def __init__(self, tasks: Iterable[Signature[R]], /, **options: Any) -> None: ...
    @overload
    def __init__(self: group[Any], /, *tasks: Any, **options: Any) -> None: ...
    def __init__(self, /, *tasks: Any, **options: Any) -> None:
        if len(tasks) == 1:
            (tasks,) = tasks
        if isinstance(tasks, group):
            tasks = tasks.tasks
        members = parts_of("group()", [tasks] if isinstance(tasks, Mapping) else tasks)
        super().__init__("celery.group", (), {"tasks": members}, options, subtask_type="group")

    def __call__(self, *args: Any, **options: Any) -> GroupResult[R]:
        """Send the group; every member gets ``args``."""
        return self.apply_async(args, **options)

    if TYPE_CHECKING:
        # The result of a group is a GroupResult.
        def freeze(self, task_id: str | None = None) -> GroupResult[R]:  # type: ignore[override]
            """See ``Signature``."""

        def delay(self, *args: Any, **kwargs: Any) -> GroupResult[R]:  # type: ignore[override]
            """See ``Signature``."""

        def apply_async(  # type: ignore[override]
            self, args: Args = None, kwargs: Kwargs = None, **options: Any
        ) -> GroupResult[R]:
            """See ``Signature``."""

        def apply(  # type: ignore[override]
            self, args: Args = None, kwargs: Kwargs = None, **options: Any
        ) -> GroupResult[R]:
            """See ``Signature``."""

        async def adelay(self, *args: Any, **kwargs: Any) -> GroupResult[R]:  # type: ignore[override]
            """See ``Signature``."""

        async def aapply_async(  # type: ignore[override]
            self, args: Args = None, kwargs: Kwargs = None, **options: Any
        ) -> GroupResult[R]:
            """See ``Signature``."""

    def link(self, callback: S) -> S:
        """Raise ``TypeError``: a group has no last task."""
        raise TypeError(f"A group has many ends: write group(...) | {callback!r}, which makes it a chord.")

    def link_error(self, errback: S) -> S:
        """Call ``errback`` for each member that fails."""
        for task in self.tasks:
            task.link_error(errback)
        return errback

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Self:
        """Set the countdowns of the members: ``start``, ``start + step``, ... seconds, at most ``stop``.

        Returns the group itself: ``group(add.s(i, i) for i in range(10)).skew(start=1, stop=10).delay()``.
        """
        for task, countdown in zip(self.tasks, fxrange(start, stop, step, repeatlast=True), strict=False):
            task.set(countdown=countdown)
        return self

    def __repr__(self) -> str:
        return f"group({self.tasks!r})"
