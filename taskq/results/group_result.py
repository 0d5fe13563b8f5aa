"""``GroupResult``: the result of a group that was sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async

from taskq.records import result_tuple

from . import backend, serialization
from .descendants import WithDescendants
from .result_set import ResultSet

if TYPE_CHECKING:
    from .async_result import AsyncResult
    from .base import ResultBase

R = TypeVar("R")


class GroupResult(WithDescendants, ResultSet[R]):
    """The results of the group ``id``, in the order of its members. ``parent`` is the result before it in a chain."""

    __slots__ = ("id", "parent")

    def __init__(
        self,
        id: str,
        results: Iterable[AsyncResult[R] | GroupResult[Any]] = (),
        parent: ResultBase | None = None,
    ) -> None:
        if not id:
            raise ValueError("GroupResult needs the id of a group.")
        super().__init__(results)
        self.id = str(id)
        self.parent = parent

    @property
    def children(self) -> list[AsyncResult[R] | GroupResult[Any]]:
        """The results of the members, as ``results``."""
        return self.results

    # -- saved under its id

    def save(self) -> None:
        """Save the group, so that ``restore`` finds it. A group that was sent is saved already."""
        backend.current().save_group(self.id, self.as_tuple())

    @classmethod
    def restore(cls, id: str) -> GroupResult[Any] | None:
        """Return the group ``id`` that was sent or saved, ``None`` for an unknown group.

        The ``parent`` of the group and of its members is known only if ``save`` was called.

        Example::

            group_id = group(add.s(i, i) for i in range(10)).delay().id
            GroupResult.restore(group_id).get()
        """
        data = backend.current().load_group(str(id))
        result = serialization.from_tuple(data) if data else None
        return result if isinstance(result, GroupResult) else None

    def delete(self) -> None:
        """Delete a group that ``save`` has saved.

        The tasks' rows stay: ``forget`` deletes those. A group that was sent stays as long as its workflow.
        """
        backend.current().delete_group(self.id)

    async def asave(self) -> None:
        """Do ``save()``."""
        await sync_to_async(self.save)()

    @classmethod
    async def arestore(cls, id: str) -> GroupResult[Any] | None:
        """Return ``restore(id)``."""
        return await sync_to_async(cls.restore)(id)

    async def adelete(self) -> None:
        """Do ``delete()``."""
        await sync_to_async(self.delete)()

    # -- as plain data

    @classmethod
    def from_tuple(cls, data: Any) -> AsyncResult[Any] | GroupResult[Any]:
        """Build a result from the tuple that ``as_tuple`` returned."""
        return serialization.from_tuple(data)

    def _member_tuples(self, most_ancestors: int | None) -> list[Any]:
        return [result_tuple(result, most_ancestors) for result in self.results]

    def _class_and_keywords(self) -> tuple[Any, ...]:
        return type(self), {"id": self.id, "results": self.results}

    def _own_id(self) -> Sequence[str]:
        return (self.id,)

    def __bool__(self) -> bool:
        """Return true also for an empty group."""
        return True

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return self.id == other.id and self.results == other.results
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(map(str, self.results))}]>"
