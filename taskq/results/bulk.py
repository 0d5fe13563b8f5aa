"""Reads many tasks' rows at once, and waits for them at once: one query, not one a task.

Each result keeps its row once that is final, and never reads it again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterable, Mapping
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from taskq import states

from . import backend
from .rows import COLUMNS

if TYPE_CHECKING:
    from taskq.models import TaskRun

    from .async_result import AsyncResult

    Leaf = AsyncResult[Any]
    Rows = Mapping[str, TaskRun]


def refresh(leaves: Iterable[Leaf]) -> list[str]:
    """Read the rows of all leaves without a known final state, in one query; return the state of each leaf."""
    leaves = list(leaves)
    ids = {leaf.id for leaf in leaves if leaf._known() is None}
    rows = backend.current().fetch(ids, COLUMNS) if ids else {}
    for leaf in leaves:
        leaf._keep(rows.get(leaf.id))
    return [leaf._known() or (rows[leaf.id].state if leaf.id in rows else states.PENDING) for leaf in leaves]


def wait(
    leaves: Collection[Leaf],
    timeout: float | None,
    tick: Callable[[], object] | None = None,
    interval: float = 0.5,
    *,
    until_failure: bool = False,
) -> None:
    """Wait until all tasks have ended; with ``until_failure`` only until one has failed or was revoked.

    ``timeout`` is in seconds, for all together. Raises as ``waiting.arrivals`` does.
    """
    if until_failure and first_failed(leaves) is not None:
        return
    with closing(arrivals(leaves, timeout, tick, interval)) as arriving:
        for rows in arriving:
            if until_failure and has_failure(rows):
                return


async def await_(leaves: Collection[Leaf], timeout: float | None, *, until_failure: bool = False) -> None:
    """Do ``wait`` from a coroutine."""
    if until_failure and first_failed(leaves) is not None:
        return
    async with aclosing(async_arrivals(leaves, timeout)) as arriving:
        async for rows in arriving:
            if until_failure and has_failure(rows):
                return


def arrivals(
    leaves: Iterable[Leaf], timeout: float | None, tick: Callable[[], object] | None = None, interval: float = 0.5
) -> Generator[Rows, None, None]:
    """Have the leaves keep their rows as they become final, and yield all new rows at a time."""
    if wanted := _awaited_by_id(leaves):
        with closing(backend.current().arrivals(list(wanted), timeout, tick, interval)) as arriving:
            for rows in arriving:
                _keep(wanted, rows)
                yield rows


async def async_arrivals(leaves: Iterable[Leaf], timeout: float | None) -> AsyncGenerator[Rows, None]:
    """Do ``arrivals`` from a coroutine."""
    if wanted := _awaited_by_id(leaves):
        async with aclosing(backend.current().async_arrivals(list(wanted), timeout)) as arriving:
            async for rows in arriving:
                _keep(wanted, rows)
                yield rows


def first_failed(leaves: Iterable[Leaf]) -> Leaf | None:
    """Return the first leaf that is known to have failed or to have been revoked."""
    return next((leaf for leaf in leaves if leaf._known() in states.PROPAGATE_STATES), None)


def _awaited_by_id(leaves: Iterable[Leaf]) -> dict[str, list[Leaf]]:
    wanted: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        if leaf._awaited():
            wanted.setdefault(leaf.id, []).append(leaf)
    return wanted


def _keep(wanted: Mapping[str, list[Leaf]], rows: Rows) -> None:
    for task_id, row in rows.items():
        for leaf in wanted[task_id]:
            leaf._keep(row)


def has_failure(rows: Rows) -> bool:
    """Tell whether any of the rows is that of a task that has failed or was revoked."""
    return any(row.state in states.PROPAGATE_STATES for row in rows.values())
