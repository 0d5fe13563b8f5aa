"""Reads the rows of many tasks, and waits for many tasks, with one query for all. Used by all results.

A *leaf* is the ``AsyncResult`` of one task. It keeps its row when the row is final, and never reads it again.
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
    ids = {leaf.id for leaf in leaves if leaf._known_state() is None}
    rows = backend.current().fetch(ids, COLUMNS) if ids else {}
    for leaf in leaves:
        leaf._keep_row(rows.get(leaf.id))
    return [leaf._known_state() or (rows[leaf.id].state if leaf.id in rows else states.PENDING) for leaf in leaves]


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


async def async_wait(leaves: Collection[Leaf], timeout: float | None, *, until_failure: bool = False) -> None:
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
    """Wait for the leaves: let them keep their rows as these become final, and yield all new rows at a time."""
    if wanted := _awaited_by_id(leaves):
        with closing(backend.current().arrivals(list(wanted), timeout, tick, interval)) as arriving:
            for rows in arriving:
                _keep_rows(wanted, rows)
                yield rows


async def async_arrivals(leaves: Iterable[Leaf], timeout: float | None) -> AsyncGenerator[Rows, None]:
    """Do ``arrivals`` from a coroutine."""
    if wanted := _awaited_by_id(leaves):
        async with aclosing(backend.current().async_arrivals(list(wanted), timeout)) as arriving:
            async for rows in arriving:
                _keep_rows(wanted, rows)
                yield rows


def first_failed(leaves: Iterable[Leaf]) -> Leaf | None:
    """Return the first leaf that is known to have failed or to have been revoked."""
    return next((leaf for leaf in leaves if leaf._known_state() in states.PROPAGATE_STATES), None)


def _awaited_by_id(leaves: Iterable[Leaf]) -> dict[str, list[Leaf]]:
    wanted: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        if leaf._is_awaited():
            wanted.setdefault(leaf.id, []).append(leaf)
    return wanted


def _keep_rows(wanted: Mapping[str, list[Leaf]], rows: Rows) -> None:
    for task_id, row in rows.items():
        for leaf in wanted[task_id]:
            leaf._keep_row(row)


def has_failure(rows: Rows) -> bool:
    """Tell whether any of the rows is that of a task that has failed or was revoked."""
    return any(row.state in states.PROPAGATE_STATES for row in rows.values())
