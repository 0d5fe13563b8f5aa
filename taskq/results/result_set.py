"""``ResultSet``: many results as one. Every property and every look of a wait is one query for all members.

The members may be groups: the value of a group is a list. ``GroupResult`` is a ``ResultSet`` with
an id. Nothing is sent or run here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from asgiref.sync import sync_to_async

from taskq import states

from . import bulk, join_guard
from .base import ResultBase

if TYPE_CHECKING:
    from .async_result import AsyncResult
    from .group_result import GroupResult

R = TypeVar("R")


class ResultSet(ResultBase, Generic[R]):
    """Results that are waited for together: ``ResultSet([add.delay(1, 1), add.delay(2, 2)]).join()``.

    A set has no id, so a task can't return it: return a ``GroupResult`` or a list of results.
    """

    __slots__ = ("__weakref__", "results")

    parent: ResultBase | None = None

    def __init__(self, results: Iterable[AsyncResult[R] | GroupResult[Any]]) -> None:
        self.results: list[AsyncResult[R] | GroupResult[Any]] = list(results)

    # -- the values

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        *,
        callback: Callable[[str, R], object] | None = None,
        no_ack: bool = True,
        on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[R]:
        """Wait until all tasks have ended and return their values in order.

        ``timeout`` is in seconds, for all together. The exception of a task is raised as soon as the
        task has failed; ``propagate=False`` returns exceptions in the places of values.
        ``callback`` is called with each id and value, in order, each as soon as its task and all before it have
        ended. ``on_interval`` is called every ``interval`` seconds while waiting. ``no_ack`` and ``on_message`` are
        Celery's and do nothing.
        Raises also the errors of ``AsyncResult.get``.

        Example::

            group(add.s(i, i) for i in range(3)).delay().get(timeout=10)  # [0, 2, 4]
        """
        if disable_sync_subtasks:
            join_guard.refuse_in_task()
        if callback is None:
            bulk.wait(self.leaves(), timeout, on_interval, interval, until_failure=propagate)
            return self._values(propagate)
        values: list[R] = []
        leaves = self.leaves()
        failed = bulk.first_failed(leaves) is not None
        with closing(bulk.arrivals(leaves, timeout, on_interval, interval)) as arriving:
            for result in list(self.results):
                while _awaited(result) and (rows := next(arriving, None)) is not None:
                    # Of a large group all results are searched once, not with each arrival.
                    failed = failed or bulk.has_failure(rows)
                    if propagate and failed:
                        self._raise_known()
                values.append(_value(result, propagate))
                callback(result.id, values[-1])
        return values

    get = join
    join_native = join

    async def ajoin(
        self, timeout: float | None = None, propagate: bool = True, *, disable_sync_subtasks: bool = True
    ) -> list[R]:
        """Do ``join`` from a coroutine. ``await results`` is the short form."""
        if disable_sync_subtasks:
            join_guard.refuse_in_task()
        await bulk.async_wait(self.leaves(), timeout, until_failure=propagate)
        return await sync_to_async(self._values)(propagate)

    aget = ajoin

    def __await__(self) -> Generator[Any, None, list[R]]:
        """Wait for the values: ``values = await group(...).delay()``."""
        return self.ajoin().__await__()

    def iterate(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        *,
        no_ack: bool = True,
        on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> Generator[R, None, None]:
        """Yield the values in order, each as soon as its task and all before it have ended. See ``join``."""
        if disable_sync_subtasks:
            join_guard.refuse_in_task()
        with closing(bulk.arrivals(self.leaves(), timeout, on_interval, interval)) as arriving:
            for result in list(self.results):
                while _awaited(result) and next(arriving, None) is not None:
                    pass
                yield _value(result, propagate)

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        *,
        no_ack: bool = True,
        on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> Generator[tuple[str, dict[str, Any]], None, None]:
        """Yield ``(id, meta)`` for each task in the order in which the tasks end. See ``join``.

        ``meta`` has the keys ``task_id``, ``status``, ``result``, ``traceback``,
        ``children`` and ``date_done``. A task that has failed raises nothing.
        """
        if disable_sync_subtasks:
            join_guard.refuse_in_task()
        awaited: dict[str, list[AsyncResult[Any]]] = {}
        for leaf in self.leaves():
            if leaf._is_awaited():
                awaited.setdefault(leaf.id, []).append(leaf)
            elif not leaf.ignored:
                yield leaf.id, _meta(leaf)
        every = [leaf for same in awaited.values() for leaf in same]
        with closing(bulk.arrivals(every, timeout, on_interval, interval)) as arriving:
            for rows in arriving:
                yield from ((leaf.id, _meta(leaf)) for task_id in rows for leaf in awaited[task_id])

    async def aiterate(
        self, timeout: float | None = None, propagate: bool = True, *, disable_sync_subtasks: bool = True
    ) -> AsyncGenerator[R, None]:
        """Do ``iterate`` from a coroutine. ``async for value in results`` is the short form."""
        if disable_sync_subtasks:
            join_guard.refuse_in_task()
        async with aclosing(bulk.async_arrivals(self.leaves(), timeout)) as arriving:
            for result in list(self.results):
                while _awaited(result) and await anext(arriving, None) is not None:
                    pass
                yield await sync_to_async(_value)(result, propagate)

    def __aiter__(self) -> AsyncGenerator[R, None]:
        return self.aiterate()

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, R], object] | None = None) -> None:
        """Raise the exception of the first task that has failed by now; call ``callback`` with each id and result."""
        bulk.refresh(self.leaves())
        if propagate:
            self._raise_known()
        if callback is not None:
            for leaf in self.leaves():
                callback(leaf.id, leaf.result)

    maybe_reraise = maybe_throw

    # -- the states

    def ready(self) -> bool:
        """Tell whether all tasks have ended."""
        return all(states.is_final(state) for state in self._states())

    def waiting(self) -> bool:
        """Tell whether any task has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Tell whether all states are ``SUCCESS``."""
        return all(state == states.SUCCESS for state in self._states())

    def failed(self) -> bool:
        """Tell whether any state is ``FAILURE``."""
        return any(state == states.FAILURE for state in self._states())

    def completed_count(self) -> int:
        """Return how many results are successful; a group counts as one."""
        self._states()
        return sum(all(leaf._known_state() == states.SUCCESS for leaf in result.leaves()) for result in self.results)

    async def awaiting(self) -> bool:
        """Return ``waiting()``."""
        return await sync_to_async(self.waiting)()

    async def acompleted_count(self) -> int:
        """Return ``completed_count()``."""
        return await sync_to_async(self.completed_count)()

    # -- as a set

    def add(self, result: AsyncResult[R] | GroupResult[Any]) -> None:
        """Add a result at the end if it is not in the set."""
        self.update((result,))

    def update(self, results: Iterable[AsyncResult[R] | GroupResult[Any]]) -> None:
        """Add the results that are not in the set at the end."""
        there = {result.id: result for result in self.results}
        self.results += [there.setdefault(result.id, result) for result in results if result.id not in there]

    def remove(self, result: AsyncResult[R] | GroupResult[Any] | str) -> None:
        """Remove a result, or the result with this id. Raises ``KeyError`` if it is not in the set."""
        before = len(self.results)
        self.discard(result)
        if len(self.results) == before:
            raise KeyError(str(result))

    def discard(self, result: AsyncResult[R] | GroupResult[Any] | str) -> None:
        """Remove a result, or the result with this id, if it is in the set."""
        self.results = [kept for kept in self.results if kept.id != str(result)]

    def clear(self) -> None:
        """Remove all results."""
        self.results.clear()

    def __iter__(self) -> Iterator[AsyncResult[R] | GroupResult[Any]]:
        """Yield the results. For their values use ``join``, ``iterate`` or ``async for``."""
        return iter(self.results)

    def __getitem__(self, index: int) -> AsyncResult[R] | GroupResult[Any]:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __bool__(self) -> bool:
        return bool(self.results)

    def __eq__(self, other: object) -> bool:
        return self.results == other.results if isinstance(other, ResultSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(map(str, self.results))}]>"

    # -- for ``ResultBase``

    def members(self) -> Sequence[ResultBase]:
        """Return the results."""
        return self.results

    def _class_and_keywords(self) -> tuple[Any, ...]:
        return type(self), {"results": self.results}

    def _own_id(self) -> Sequence[str]:
        return ()

    def _states(self) -> list[str]:
        return bulk.refresh(self.leaves())

    def _values(self, propagate: bool) -> list[R]:
        if propagate:
            self._raise_known()
        return [_value(result, propagate) for result in self.results]

    def _raise_known(self) -> None:
        if (failed := bulk.first_failed(self.leaves())) is not None:
            failed.get(disable_sync_subtasks=False)


def _awaited(result: ResultBase) -> bool:
    return any(leaf._is_awaited() for leaf in result.leaves())


def _meta(leaf: AsyncResult[Any]) -> dict[str, Any]:
    """Return the end of a task under Celery's names."""
    return {
        "task_id": leaf.id,
        "status": leaf.state,
        "result": leaf.result,
        "traceback": leaf.traceback,
        "children": leaf.children,
        "date_done": leaf.date_done,
    }


def _value(result: AsyncResult[R] | GroupResult[Any], propagate: bool) -> R:
    """Return the value of a result that is ready, without a wait or a query."""
    return cast(R, result.get(propagate=propagate, disable_sync_subtasks=False))
