"""Results from the plain tuples that ``as_tuple`` wrote, by us or by Celery, and that JSON made lists of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from .async_result import AsyncResult
    from .group_result import GroupResult

    Result: TypeAlias = AsyncResult[Any] | GroupResult[Any]


def from_tuple(data: Any) -> Result:
    """Build the result that ``data`` describes: an ``AsyncResult``, or a ``GroupResult`` if it has members.

    ``data`` is ``((id, parent), members)`` or an id alone. Raises ``ValueError`` for
    anything else.
    """
    line: list[tuple[str, Any]] = []
    while data:
        try:
            (task_id, parent), members = (data, None), None
            if not isinstance(data, str):
                (task_id, parent), members = data
        except (ValueError, TypeError):
            raise ValueError(f"This is not the tuple of a result: {data!r}") from None
        line.append((task_id, members))
        data = parent if not isinstance(data, str) else None
    if not line:
        raise ValueError(f"This is not the tuple of a result: {data!r}")
    return _built(line)


def _built(line: list[tuple[str, Any]]) -> Result:
    """Build a chain from its last result, which comes first, to its first."""
    from .async_result import AsyncResult
    from .group_result import GroupResult

    result: Result | None = None
    for task_id, members in reversed(line):
        if members is None:
            result = AsyncResult(task_id, parent=result)
        else:
            result = GroupResult(task_id, [from_tuple(member) for member in members], parent=result)
    assert result is not None
    return result


def from_frozen(frozen: Any) -> Result:
    """Build the result of a frozen signature."""
    from .async_result import AsyncResult
    from .group_result import GroupResult

    line = [frozen]
    while line[-1].parent is not None:
        line.append(line[-1].parent)
    result: Result | None = None
    for link in reversed(line):
        if link.members is None:
            result = AsyncResult(link.id, result, ignored=link.ignored)
        else:
            result = GroupResult(link.id, [from_frozen(member) for member in link.members], parent=result)
    assert result is not None
    return result
