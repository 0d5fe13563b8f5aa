"""A second way to see that a chain has ended: one of the tasks before has failed.

What could only run after a task that failed fails with it, in one transaction, so
that nobody needs this while every worker of a workflow is a taskq worker. If another
program has run a link, ``get()`` looks at the links before while it waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskq import states
from taskq.exceptions import ChordError

from . import bulk

if TYPE_CHECKING:
    from .async_result import AsyncResult

#: Seconds between two looks.
INTERVAL = 1.0


def failure_before(result: AsyncResult[Any]) -> BaseException | None:
    """Return why ``result`` will never come, if a task before it has failed and it knows nothing of it."""
    before = [(node, leaf) for node in result.ancestors() for leaf in node.leaves()]
    bulk.look([leaf for _, leaf in before])
    failed = next(((node, leaf) for node, leaf in before if leaf._known() in states.PROPAGATE_STATES), None)
    # Asked afterwards: what settled both of them in between is no news.
    if failed is None or result.ready():
        return None
    node, leaf = failed
    return _error(leaf) if node is leaf else ChordError.by_member(leaf.id, _error(leaf))


def check(result: AsyncResult[Any]) -> None:
    """Raise the exception of a task before ``result`` for which it will never come."""
    if (error := failure_before(result)) is not None:
        raise error


def ticks(result: AsyncResult[Any], also: Callable[[], object] | None) -> Callable[[], None]:
    """Return what ``get()`` does from time to time while it waits: ``check``, and call ``also``."""

    def tick() -> None:
        if also is not None:
            also()
        check(result)

    return tick


def _error(leaf: AsyncResult[Any]) -> BaseException:
    value = leaf.result
    return value if isinstance(value, BaseException) else Exception(value)
