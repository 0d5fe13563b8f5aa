"""What every kind of result has in common: a place among others, a plain form, and an end.

``AsyncResult`` is one, and the results of workflows are. A task may return one:
it is stored as its tuple. Tuples are Celery's: ``((id, parent), members)``, where
the members are ``None`` for a task.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from asgiref.sync import sync_to_async

from taskq.records import MOST_ANCESTORS, lineage, result_tuple

from . import backend

if TYPE_CHECKING:
    from taskq.models import TaskRun

    from .async_result import AsyncResult


class ResultBase:
    """A task's or a workflow's future result. ``parent`` is the one that it follows in a chain."""

    __slots__ = ()

    id: str
    parent: ResultBase | None

    # -- its place

    def members(self) -> Sequence[ResultBase]:
        """Return the results that this one is made of; a task's has none."""
        return ()

    def ancestors(self) -> Iterator[ResultBase]:
        """Yield the results before this one in its chain, the nearest first."""
        return lineage(self.parent)

    def leaves(self) -> list[AsyncResult[Any]]:
        """Return the results of the tasks that this one is made of, in document order."""
        return [leaf for node in self._walk(False) for leaf in node._own()]

    def as_list(self) -> list[str]:
        """Return the ids of all tasks that this result stands for: its own, and those before them."""
        return list(dict.fromkeys(leaf.id for node in self._walk(True) for leaf in node._own()))

    def _own(self) -> Sequence[AsyncResult[Any]]:
        """Return this result if it is a task's."""
        return ()

    def _names(self) -> Sequence[str]:
        """Return the id, if it has one."""
        return (self.id,)

    def _walk(self, upwards: bool) -> Iterator[ResultBase]:
        """Yield this result and its members, theirs too, ``upwards`` also what was before each, once each."""
        todo: list[ResultBase] = [self]
        seen: set[int] = set()
        while todo:
            node = todo.pop()
            if id(node) in seen and upwards:
                continue
            seen.add(id(node))
            yield node
            if upwards and node.parent is not None:
                todo.append(node.parent)
            todo.extend(reversed(node.members()))

    @property
    def children(self) -> Sequence[ResultBase] | None:
        """The results of what this one led to, ``None`` before that is known."""
        raise NotImplementedError

    # -- its end

    @property
    def supports_native_join(self) -> bool:
        """Whether waiting for many results is one wait: always."""
        return True

    def get(self, timeout: float | None = None, propagate: bool = True, *, disable_sync_subtasks: bool = True) -> Any:
        """Wait for the value."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Tell whether it has ended."""
        raise NotImplementedError

    def successful(self) -> bool:
        """Tell whether it has ended well."""
        raise NotImplementedError

    def failed(self) -> bool:
        """Tell whether there was an exception."""
        raise NotImplementedError

    def then(self, callback: Callable[[Self], object], on_error: Callable[[Self], object] | None = None) -> None:
        """Have ``callback`` called with this result, once, when it has ended, well or not.

        With ``on_error`` that is called in its place if it has not ended well. Returns at
        once. The call is made on a thread of its own, here and now if all has ended
        already, and never if this process ends before; what has to happen is a callback of
        the task (``link``). What it raises is logged.
        """
        leaves = [leaf for leaf in self.leaves() if leaf._awaited()]

        def ended(rows: Mapping[str, TaskRun]) -> None:
            for leaf in leaves:
                leaf._keep(rows.get(leaf.id))
            call = callback if on_error is None or self.successful() else on_error
            call(self)

        if leaves:
            backend.current().watch([leaf.id for leaf in leaves], ended)
        else:
            ended({})

    # -- changes

    def forget(self) -> None:
        """Delete the rows of these tasks and of those before them in their chain."""
        for leaf in self.leaves():
            leaf._drop()
        backend.current().forget(self.as_list())

    def revoke(self, terminate: bool = False, signal: str | int | None = None) -> None:
        """See to it that what has not run does not run: this, what comes after it, and what is for it alone.

        The last result of a chain or chord stands for all of it. What runs already goes on,
        unless ``terminate`` is true: then its process gets ``signal``, ``SIGTERM`` if
        none is given.
        """
        ids = [name for node in self._walk(False) for name in node._names()]
        backend.current().revoke(ids, _signal_name(signal) if terminate else "")

    # -- asynchronous twins

    async def aready(self) -> bool:
        """Return ``ready()``."""
        return await sync_to_async(self.ready)()

    async def asuccessful(self) -> bool:
        """Return ``successful()``."""
        return await sync_to_async(self.successful)()

    async def afailed(self) -> bool:
        """Return ``failed()``."""
        return await sync_to_async(self.failed)()

    async def aforget(self) -> None:
        """Do ``forget()``."""
        await sync_to_async(self.forget)()

    async def arevoke(self, terminate: bool = False, signal: str | int | None = None) -> None:
        """Do ``revoke()``."""
        await sync_to_async(self.revoke)(terminate, signal)

    # -- as plain data

    def as_tuple(self) -> tuple[Any, Any]:
        """Return the result as plain data, from which ``serialization.from_tuple`` builds it again."""
        return result_tuple(self, None)

    def __json__(self) -> tuple[Any, Any]:
        """Tell kombu's JSON how to write a result that lies inside a task's return value."""
        return result_tuple(self, MOST_ANCESTORS)

    def _member_tuples(self, most_ancestors: int | None) -> list[Any] | None:
        """Return the members in Celery's form, ``None`` for a task: see ``records.result_tuple``."""
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, ([node._parts() for node in reversed(list(lineage(self)))],)

    def _parts(self) -> tuple[Any, ...]:
        """Return the class, and the arguments with which it builds this result but for the parent."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"


def rebuild(line: Sequence[tuple[Any, ...]]) -> ResultBase:
    """Build the last result of a chain from the parts of each, the first one first. Pickles name this."""
    result: ResultBase | None = None
    for cls, keywords in line:
        result = cls(**keywords) if result is None else cls(**keywords, parent=result)
    assert result is not None
    return result


def _signal_name(signal: str | int | None) -> str:
    """Return a signal's full name. Raises ``ValueError`` for one that this system does not have."""
    if signal is None:
        return "SIGTERM"
    if isinstance(signal, int):
        return signals.Signals(signal).name
    name = signal.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name not in signals.Signals.__members__:
        raise ValueError(f"signal: there is no signal {signal!r}.")
    return name
