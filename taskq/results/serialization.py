"""Builds results from plain data: from Celery's tuples (JSON makes lists of them) and from ``FrozenResult``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from taskq.records import FrozenResult, lineage

if TYPE_CHECKING:
    from .async_result import AsyncResult
    from .group_result import GroupResult

    Result: TypeAlias = AsyncResult[Any] | GroupResult[Any]


def from_tuple(data: Any) -> Result:
    """Build a result from Celery's tuple: a ``GroupResult`` if it has members, else an ``AsyncResult``.

    ``data`` is ``((id, parent), members)`` or an id alone. Raises ``ValueError`` for
    anything else.
    """
    return from_frozen(_parsed(data))


def from_frozen(frozen: FrozenResult) -> Result:
    """Build the result of a frozen signature: a ``GroupResult`` if it has members, else an ``AsyncResult``."""
    from .async_result import AsyncResult
    from .group_result import GroupResult

    result: Result | None = None
    for link in reversed(list(lineage(frozen))):
        if link.members is None:
            result = AsyncResult(link.id, result, ignored=link.ignored)
        else:
            result = GroupResult(link.id, [from_frozen(member) for member in link.members], result)
    assert result is not None
    return result


def _parsed(data: Any) -> FrozenResult:
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
    result: FrozenResult | None = None
    for task_id, members in reversed(line):
        result = FrozenResult(task_id, result, None if members is None else [_parsed(member) for member in members])
    assert result is not None
    return result
