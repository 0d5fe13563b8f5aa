"""``ResultBase``: the common part of ``AsyncResult``, ``ResultSet`` and ``GroupResult``.

A task may return a result: its row then keeps Celery's tuple ``((id, parent), members)``,
where ``members`` is ``None`` for a task.
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
    """The future result of a task or a workflow. ``parent`` is the result before it in a chain."""

    __slots__ = ()

    id: str
    parent: ResultBase | None

    # -- parents and members

    def members(self) -> Sequence[ResultBase]:
        """Return the results of a group's members; a task has none."""
        return ()

    def ancestors(self) -> Iterator[ResultBase]:
        """Yield the results before this result in its chain, the nearest first."""
        return lineage(self.parent)

    def leaves(self) -> list[AsyncResult[Any]]:
        """Return the results of all tasks in this result, members of members too, in document order."""
        return [leaf for node in self._walk(False) for leaf in node._own_leaf()]

    def as_list(self) -> list[str]:
        """Return the ids of all tasks in this result and of all tasks before them in their chains."""
        return list(dict.fromkeys(leaf.id for node in self._walk(True) for leaf in node._own_leaf()))

    def _own_leaf(self) -> Sequence[AsyncResult[Any]]:
        """Return this result if it is a task's (a leaf), as a sequence of one; else an empty one."""
        return ()

    def _own_id(self) -> Sequence[str]:
        """Return the id of this result as a sequence of one, or an empty one for a ``ResultSet``."""
        return (self.id,)

    def _walk(self, upwards: bool) -> Iterator[ResultBase]:
        """Yield this result and all its members; with ``upwards`` also the parents of each, every result once."""
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
        """The results of the tasks that this task sent, or of the group's members; ``None`` before the end."""
        raise NotImplementedError

    # -- the end

    @property
    def supports_native_join(self) -> bool:
        """Always true; many results can be waited for at once."""
        return True

    def get(self, timeout: float | None = None, propagate: bool = True, *, disable_sync_subtasks: bool = True) -> Any:
        """Wait for the value."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Tell whether all tasks have ended."""
        raise NotImplementedError

    def successful(self) -> bool:
        """Tell whether all tasks have the state ``SUCCESS``."""
        raise NotImplementedError

    def failed(self) -> bool:
        """Tell whether any task has the state ``FAILURE``."""
        raise NotImplementedError

    def then(self, callback: Callable[[Self], object], on_error: Callable[[Self], object] | None = None) -> None:
        """Call ``callback`` with this result, once, when all its tasks have ended.

        With ``on_error``, a result that is not successful is passed to ``on_error`` instead.
        Returns at once. A thread makes the call, or this method does if the end is known
        already. If this process ends first, nothing is called: use a callback of the task
        (``link``) for work that must not be lost. Exceptions of the thread's call are logged.

        Example::

            add.delay(2, 2).then(lambda result: print(result.get()))
        """
        leaves = [leaf for leaf in self.leaves() if leaf._is_awaited()]

        def ended(rows: Mapping[str, TaskRun]) -> None:
            for leaf in leaves:
                leaf._keep_row(rows.get(leaf.id))
            call = callback if on_error is None or self.successful() else on_error
            call(self)

        if leaves:
            backend.current().watch([leaf.id for leaf in leaves], ended)
        else:
            ended({})

    # -- changes

    def forget(self) -> None:
        """Delete the rows of these tasks and of the tasks before them in their chains."""
        for leaf in self.leaves():
            leaf._forget_row()
        backend.current().forget(self.as_list())

    def revoke(self, terminate: bool = False, signal: str | int | None = None) -> None:
        """Revoke the tasks, their dependents, and the tasks that run only for them: none starts any more.

        Revoking the last result of a chain or chord revokes all of it. A task that runs already goes on,
        unless ``terminate`` is true: then its process gets ``signal`` (a name or number), by
        default ``SIGTERM``. Raises ``ValueError`` for an unknown signal.

        Example::

            result.revoke()
            result.revoke(terminate=True, signal="SIGKILL")
        """
        ids = [name for node in self._walk(False) for name in node._own_id()]
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
        """Return the result as plain data; ``AsyncResult.from_tuple`` builds it again."""
        return result_tuple(self, None)

    def __json__(self) -> tuple[Any, Any]:
        """Return the form in which kombu's JSON writes a result that a task returns."""
        return result_tuple(self, MOST_ANCESTORS)

    def _member_tuples(self, most_ancestors: int | None) -> list[Any] | None:
        """Return the members in Celery's form, ``None`` for a task: see ``records.result_tuple``."""
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, ([node._class_and_keywords() for node in reversed(list(lineage(self)))],)

    def _class_and_keywords(self) -> tuple[Any, ...]:
        """Return the class of this result and the keyword arguments that make it again, without the parent."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"


def rebuild(line: Sequence[tuple[Any, ...]]) -> ResultBase:
    """Build a chain of results from their classes and keywords, and return the last one. Pickles name this function."""
    result: ResultBase | None = None
    for cls, keywords in line:
        result = cls(**keywords) if result is None else cls(**keywords, parent=result)
    assert result is not None
    return result


def _signal_name(signal: str | int | None) -> str:
    """Return a signal's full name. Raises ``ValueError`` for a signal that this system does not have."""
    if signal is None:
        return "SIGTERM"
    if isinstance(signal, int):
        return signals.Signals(signal).name
    name = signal.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name not in signals.Signals.__members__:
        raise ValueError(f"signal: there is no signal {signal!r}.")
    return name
