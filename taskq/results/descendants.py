"""The descendants of a task or group: the tasks that it sent, the tasks that these sent, and so on.

``WithDescendants`` are the methods of ``AsyncResult`` and ``GroupResult``. Each generation is read in one query.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from taskq.exceptions import IncompleteStream

from . import bulk, join_guard
from .base import ResultBase
from .graph import ResultGraph

if TYPE_CHECKING:
    from .async_result import AsyncResult

    Pair = tuple[ResultBase | None, ResultBase]


class WithDescendants(ResultBase):
    """A result with an id, and with the tasks that its tasks sent."""

    __slots__ = ()

    def iterdeps(self, intermediate: bool = False) -> Iterator[Pair]:
        """Yield pairs ``(parent, result)``: first ``(None, self)``, then all members and descendants.

        Does not wait. A task that has not ended has no children yet: ``IncompleteStream`` is
        raised after its result was yielded, unless ``intermediate`` is true.
        """
        return _pairs(self, intermediate)

    def collect(
        self, intermediate: bool = False, *, timeout: float | None = None, propagate: bool = True
    ) -> Iterator[tuple[ResultBase, Any]]:
        """Wait for this result and all its descendants, and yield each result once with its value.

        ``timeout`` is in seconds, for all together. With ``intermediate`` it does not wait, and
        the value of a task that has not ended is ``None``.
        """
        return _collect(self, intermediate, timeout, propagate)

    def acollect(
        self, intermediate: bool = False, *, timeout: float | None = None, propagate: bool = True
    ) -> AsyncIterator[tuple[ResultBase, Any]]:
        """Do ``collect`` for ``async for``."""
        return _acollect(self, intermediate, timeout, propagate)

    def build_graph(self, intermediate: bool = False) -> ResultGraph:
        """Return this result and all its descendants as a graph. Raises as ``iterdeps`` does."""
        drawn = ResultGraph()
        for parent, node in self.iterdeps(intermediate):
            drawn.add(parent, node)
        return drawn

    async def abuild_graph(self, intermediate: bool = False) -> ResultGraph:
        """Return ``build_graph()``."""
        return await sync_to_async(self.build_graph)(intermediate)

    @property
    def graph(self) -> ResultGraph:
        """This result and all its descendants as a graph; all of them have to have ended."""
        return self.build_graph()


def _pairs(result: ResultBase, intermediate: bool) -> Iterator[Pair]:
    generation: list[Pair] = [(None, result)]
    seen: set[str] = set()
    while generation:
        bulk.refresh(_leaves(node for _, node in generation))
        next_generation: list[Pair] = []
        for parent, node in generation:
            yield parent, node
            if not intermediate and not _ended(node):
                raise IncompleteStream(f"{node} has not ended: get() it first, or pass intermediate=True.")
            if node.id not in seen:
                next_generation += [(node, child) for child in _children(node)]
            seen.add(node.id)
        generation = next_generation


def _collect(
    result: ResultBase, intermediate: bool, timeout: float | None, propagate: bool
) -> Iterator[tuple[ResultBase, Any]]:
    join_guard.refuse_in_task()
    deadline = None if timeout is None else time.monotonic() + timeout
    seen: set[str] = set()
    generation = [result]
    while generation:
        leaves = _leaves(generation)
        if intermediate:
            bulk.refresh(leaves)
        else:
            bulk.wait(leaves, _left(deadline))
        for node in generation:
            yield node, _value(node, propagate)
        generation = _next(generation, seen)


async def _acollect(
    result: ResultBase, intermediate: bool, timeout: float | None, propagate: bool
) -> AsyncIterator[tuple[ResultBase, Any]]:
    join_guard.refuse_in_task()
    deadline = None if timeout is None else time.monotonic() + timeout
    seen: set[str] = set()
    generation = [result]
    while generation:
        leaves = _leaves(generation)
        if intermediate:
            await sync_to_async(bulk.refresh)(leaves)
        else:
            await bulk.async_wait(leaves, _left(deadline))
        for node in generation:
            yield node, await sync_to_async(_value)(node, propagate)
        generation = _next(generation, seen)


def _next(generation: list[ResultBase], seen: set[str]) -> list[ResultBase]:
    """Return the children of a generation without those in ``seen``."""
    seen.update(node.id for node in generation)
    found = {child.id: child for node in generation for child in _children(node)}
    return [child for child in found.values() if child.id not in seen]


def _children(node: ResultBase) -> Iterable[ResultBase]:
    """Return the members or children of ``node``; a task that has not ended has none yet."""
    return node.members() or (node.children or () if _ended(node) else ())


def _leaves(nodes: Iterable[ResultBase]) -> list[AsyncResult[Any]]:
    return [leaf for node in nodes for leaf in node.leaves()]


def _ended(node: ResultBase) -> bool:
    return not any(leaf._is_awaited() for leaf in node.leaves())


def _value(node: ResultBase, propagate: bool) -> Any:
    return node.get(propagate=propagate, disable_sync_subtasks=False) if _ended(node) else None


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
