"""``AsyncResult``: the state and the value of one task, by its id.

``delay`` and ``apply_async`` return it; it can also be made from an id. Every
property reads the task's row again until the state is final. Then the result keeps the row
and reads nothing more. Garbage collection of a result changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from asgiref.sync import sync_to_async

from taskq import states
from taskq.exceptions import TimeoutError
from taskq.messages import values

from . import backend, bulk, decoding, join_guard, serialization
from .base import ResultBase
from .descendants import WithDescendants
from .rows import COLUMNS

if TYPE_CHECKING:
    from taskq.models import TaskRun

    from .group_result import GroupResult

R = TypeVar("R")
_UNREAD: Any = object()


class AsyncResult(WithDescendants, Generic[R]):
    """The result of the task ``id``, now or later.

    ``parent`` is the result of the task's predecessor in a chain. ``ignored``
    says that the sender asked for no result: ``get()`` returns ``None`` without waiting.

    Example::

        result = add.delay(2, 2)
        result.get(timeout=10)  # 4
        AsyncResult(result.id).state  # "SUCCESS"
    """

    __slots__ = ("__weakref__", "_arguments", "_row", "_value", "id", "ignored", "parent")

    #: ``get()`` raises this after ``timeout`` seconds.
    TimeoutError = TimeoutError

    def __init__(self, id: str, parent: ResultBase | None = None, *, ignored: bool = False) -> None:
        if not id:
            raise ValueError("AsyncResult needs the id of a task.")
        self.id = str(id)
        self.parent = parent
        self.ignored = ignored
        self._row: TaskRun | None = None
        self._value: Any = _UNREAD
        self._arguments: Any = None

    # -- the value

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        *,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, R], object] | None = None,
        on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Wait until the task has ended and return its value, or raise its exception.

        ``timeout`` is in seconds, ``None`` for as long as it takes. With
        ``propagate=False`` the exception is returned. ``callback`` is called with
        the id and the value; ``on_interval`` every ``interval`` seconds while waiting.
        A task of a chain fails with the exception of the link that failed. The body of a chord, and what follows
        it, fails with ``ChordError``; ``get()`` raises the exception of the member that failed, with
        ``follow_parents=False`` the ``ChordError``, whose cause is that exception. ``no_ack`` and ``on_message`` are
        Celery's and do nothing.

        Raises ``taskq.exceptions.TimeoutError``. Raises ``RuntimeError`` where the wait
        might never end: within a task (unless ``disable_sync_subtasks`` is false) and
        in a transaction on the database that holds the rows.
        """
        if self.ignored:
            return cast(R, None)
        if disable_sync_subtasks:
            join_guard.refuse_in_task()
        if self._row is None:
            bulk.wait((self,), timeout, on_interval, interval)
        return cast(R, self._value_or_raise(propagate, follow_parents, callback))

    wait = get

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        follow_parents: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Do ``get`` from a coroutine. ``await result`` is the short form."""
        if self.ignored:
            return cast(R, None)
        if disable_sync_subtasks:
            join_guard.refuse_in_task()
        if self._row is None:
            await bulk.async_wait((self,), timeout)
        if self._known_state() in states.PROPAGATE_STATES:
            # The cause of a ChordError is read from another row.
            return cast(R, await sync_to_async(self._value_or_raise)(propagate, follow_parents))
        return cast(R, self._value_or_raise(propagate, follow_parents))

    def __await__(self) -> Generator[Any, None, R]:
        """Wait for the value: ``value = await add.delay(2, 2)``."""
        return self.aget().__await__()

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, R], object] | None = None) -> Any:
        """Raise the exception of a task that failed or was revoked, else return ``result``."""
        return self._value_or_raise(propagate, False, callback)

    maybe_reraise = maybe_throw

    @property
    def result(self) -> Any:
        """The value, the exception (also while the task waits to be retried), or a state's metadata."""
        if self._row is None:
            row = self._read()
            if self._row is None:
                return None if row is None else decoding.value(row)
        if self._value is _UNREAD:
            self._value = decoding.value(self._row)
        return self._value

    @property
    def info(self) -> Any:
        """The same as ``result``."""
        return self.result

    @property
    def traceback(self) -> str | None:
        """The traceback of the exception, as text."""
        row = self._read()
        return None if row is None else row.traceback

    # -- the state

    @property
    def state(self) -> str:
        """The state now; an unknown id is ``PENDING``."""
        row = self._read()
        return states.PENDING if row is None else row.state

    @property
    def status(self) -> str:
        """The same as ``state``."""
        return self.state

    def ready(self) -> bool:
        """Tell whether the task has ended."""
        return states.is_final(self.state)

    def successful(self) -> bool:
        """Tell whether the state is ``SUCCESS``."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Tell whether the state is ``FAILURE``."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Tell whether the task has a row: a task that was never sent has none, nor has a result that has expired."""
        return self._read() is not None

    # -- the task

    @property
    def task_id(self) -> str:
        """The same as ``id``."""
        return self.id

    @property
    def task_record(self) -> TaskRun | None:
        """The task's row with all its columns, read again each time; ``None`` without a row."""
        return backend.current().fetch((self.id,), ()).get(self.id)

    @property
    def name(self) -> str | None:
        """The name of the task."""
        row = self._read()
        return row.name if row else None

    @property
    def args(self) -> Any:
        """The positional arguments of the task; sensitive arguments are masked."""
        return self._read_arguments()[0]

    @property
    def kwargs(self) -> Any:
        """The keyword arguments of the task; sensitive arguments are masked."""
        return self._read_arguments()[1]

    @property
    def worker(self) -> str | None:
        """The name of the worker that ran the task."""
        row = self._read()
        return (row.worker or None) if row else None

    @property
    def queue(self) -> str | None:
        """The queue that the task was sent to."""
        row = self._read()
        return (row.queue or None) if row else None

    @property
    def retries(self) -> int | None:
        """How often the task was retried."""
        row = self._read()
        return row.retries if row else None

    @property
    def date_done(self) -> datetime | None:
        """When the task ended, in UTC."""
        row = self._read()
        return row.finished_at if row else None

    # -- children

    @property
    def children(self) -> list[AsyncResult[Any] | GroupResult[Any]] | None:
        """The results of the tasks that this task sent, ``None`` before it has ended."""
        row = self._read()
        if row is None or not states.is_final(row.state):
            return None
        return [serialization.from_tuple(child) for child in values.decode_children(row.children)]

    def get_leaf(self) -> Any:
        """Wait for this task and all its descendants; return the last value."""
        ((_, value),) = deque(self.collect(), maxlen=1)
        return value

    # -- asynchronous twins

    async def astate(self) -> str:
        """Return ``state``."""
        return await sync_to_async(lambda: self.state)()

    async def aresult(self) -> Any:
        """Return ``result``."""
        return await sync_to_async(lambda: self.result)()

    async def aexists(self) -> bool:
        """Return ``exists()``."""
        return await sync_to_async(self.exists)()

    async def achildren(self) -> list[AsyncResult[Any] | GroupResult[Any]] | None:
        """Return ``children``."""
        return await sync_to_async(lambda: self.children)()

    async def aget_leaf(self) -> Any:
        """Do ``get_leaf`` from a coroutine."""
        return [value async for _, value in self.acollect()][-1]

    # -- as plain data

    @classmethod
    def from_tuple(cls, data: Any) -> AsyncResult[Any] | GroupResult[Any]:
        """Build a result from the tuple that ``as_tuple`` returned."""
        return serialization.from_tuple(data)

    def _class_and_keywords(self) -> tuple[Any, ...]:
        return type(self), {"id": self.id, "ignored": self.ignored}

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    # -- reading

    def _read(self, columns: Collection[str] = COLUMNS) -> TaskRun | None:
        """Return the row; a final row is kept and not read again."""
        if self._row is not None:
            return self._row
        row = backend.current().fetch((self.id,), columns).get(self.id)
        if row is not None and states.is_final(row.state):
            self._row = row
        return row

    def _read_arguments(self) -> Any:
        """Return ``[args, kwargs]``, or ``(None, None)`` if they are not known."""
        if self._arguments is None:
            row = backend.current().fetch((self.id,), ("arguments",)).get(self.id)
            if row is None or row.arguments is None:
                return None, None
            self._arguments = decoding.arguments(row.arguments)
        return self._arguments

    def _value_or_raise(
        self, propagate: bool, follow_parents: bool, callback: Callable[[str, R], object] | None = None
    ) -> Any:
        """Return the value or raise the exception; ``follow_parents`` raises a failed member's instead of a body's."""
        row = self._read()
        if propagate and row is not None and row.state in states.PROPAGATE_STATES:
            # A new exception each time: a raised exception keeps its frames alive, and those keep this result.
            error = decoding.exception(row)
            raise decoding.member_error(error) if follow_parents else error
        value = self.result
        if callback is not None:
            callback(self.id, value)
        return value

    # -- as a leaf, the result of one task: see ``ResultBase`` and ``bulk``

    def _own_leaf(self) -> Sequence[AsyncResult[Any]]:
        return (self,)

    def _known_state(self) -> str | None:
        """Return the final state if it is known without a query."""
        return None if self._row is None else self._row.state

    def _is_awaited(self) -> bool:
        """Tell whether the end is not known yet and a wait for it makes sense."""
        return not self.ignored and self._known_state() is None

    def _keep_row(self, row: TaskRun | None) -> None:
        """Keep ``row`` if it is final."""
        if self._row is None and row is not None and states.is_final(row.state):
            self._row = row

    def _forget_row(self) -> None:
        """Forget the row."""
        self._row, self._value, self._arguments = None, _UNREAD, None
