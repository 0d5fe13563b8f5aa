"""``group``: tasks that run in parallel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from taskq.workflows.fields import Args, Kwargs

from .signature import Signature, signatures

if TYPE_CHECKING:
    from taskq.results.group_result import GroupResult

__all__ = ["group"]

S = TypeVar("S")


@Signature.register_type()
class group(Signature[list[Any]]):
    """Tasks that run in parallel: ``group(add.s(i, i) for i in range(10))``.

    Takes signatures, or one iterable of them, which is consumed. The result is a ``GroupResult`` with the values in
    the order of the members; nested groups are flattened. Every member gets the arguments and options of a call.
    """

    __slots__ = ()

    def __init__(self, *tasks: Any, **options: Any) -> None:
        if len(tasks) == 1:
            (tasks,) = tasks
        if isinstance(tasks, group):
            members = list(tasks.tasks)
        else:
            members = signatures([tasks] if isinstance(tasks, Mapping) else tasks, "group()")
        super().__init__("celery.group", (), {"tasks": members}, options, subtask_type="group")

    @classmethod
    def _rebuilt(cls, fields: Mapping[str, Any]) -> Signature[Any]:
        made = super()._rebuilt(fields)
        made.kwargs["tasks"] = [Signature.from_dict(task) for task in made.kwargs.get("tasks") or ()]
        return made

    @property
    def tasks(self) -> list[Signature[Any]]:
        """The members."""
        tasks: list[Signature[Any]] = self.kwargs["tasks"]
        return tasks

    def __call__(self, *args: Any, **options: Any) -> GroupResult[Any]:
        """Send the group; every member gets ``args``."""
        return self.apply_async(args, **options)

    if TYPE_CHECKING:
        # The result of a group is a GroupResult.
        def freeze(self, task_id: str | None = None) -> GroupResult[Any]:  # type: ignore[override]
            """See ``Signature``."""

        def delay(self, *args: Any, **kwargs: Any) -> GroupResult[Any]:  # type: ignore[override]
            """See ``Signature``."""

        def apply_async(  # type: ignore[override]
            self, args: Args = None, kwargs: Kwargs = None, **options: Any
        ) -> GroupResult[Any]:
            """See ``Signature``."""

        def apply(  # type: ignore[override]
            self, args: Args = None, kwargs: Kwargs = None, **options: Any
        ) -> GroupResult[Any]:
            """See ``Signature``."""

        async def adelay(self, *args: Any, **kwargs: Any) -> GroupResult[Any]:  # type: ignore[override]
            """See ``Signature``."""

        async def aapply_async(  # type: ignore[override]
            self, args: Args = None, kwargs: Kwargs = None, **options: Any
        ) -> GroupResult[Any]:
            """See ``Signature``."""

    def link(self, callback: S) -> S:
        """Raise ``TypeError``: a group has no last task."""
        raise TypeError(f"A group has many ends: write group(...) | {callback!r}, which makes it a chord.")

    def link_error(self, errback: S) -> S:
        """Call ``errback``, made immutable, for each member that fails."""
        from .operators import as_immutable

        follower = as_immutable(errback)
        self.kwargs["tasks"] = [task.clone() for task in self.tasks]
        for task in self.tasks:
            task.link_error(follower)
        return errback

    def __repr__(self) -> str:
        return f"group({self.tasks!r})"
