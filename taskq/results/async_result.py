"""``AsyncResult``: a task's id, and what can be asked about the task.

Returned by ``delay`` and ``apply_async``, or made from an id that was kept. Every
question reads the row anew until the state is final; then the row is kept and
nothing more is read. Nothing happens when it is garbage.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Callable, Collection, Generator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from asgiref.sync import sync_to_async

from taskq import states
from taskq.exceptions import DecodeError, TaskRevokedError, TimeoutError

from . import backend, context, values
from .base import ResultBase
from .errors import RemoteTraceback
from .reading import COLUMNS

if TYPE_CHECKING:
    from taskq.models import TaskRun

R = TypeVar("R")
T = TypeVar("T")
_UNREAD: Any = object()


class AsyncResult(ResultBase, Generic[R]):
    """The result of the task ``id``, now or later.

    ``parent`` is the result that this one's task follows in a chain. ``ignored``
    says that the sender asked for no result, so that there is nothing to wait for.
    """

    __slots__ = ("__weakref__", "_arguments", "_row", "_value", "id", "ignored", "parent")

    #: What ``get()`` raises when the time is over.
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
        callback: Callable[[str, R], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Wait until the task has ended and return its value, or raise its exception.

        ``timeout`` is in seconds, ``None`` for as long as it takes. With
        ``propagate=False`` the exception is returned. ``callback`` is called with
        the id and the value; ``on_interval`` every ``interval`` seconds while waiting.

        Raises ``taskq.exceptions.TimeoutError``, and ``RuntimeError`` where waiting
        could never end: within a task (unless ``disable_sync_subtasks`` is false) and
        in a transaction on the database that holds the rows.
        """
        if self.ignored:
            return cast(R, None)
        if disable_sync_subtasks:
            context.refuse_in_task()
        if self._row is None:
            rows = backend.current().wait((self.id,), timeout, on_interval, interval)
            self._row = rows[self.id]
        return cast(R, self.maybe_throw(propagate, callback))

    wait = get

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, *, disable_sync_subtasks: bool = True
    ) -> R:
        """Do what ``get`` does without blocking the event loop. ``await result`` is the short form."""
        if self.ignored:
            return cast(R, None)
        if disable_sync_subtasks:
            context.refuse_in_task()
        if self._row is None:
            rows = await backend.current().await_((self.id,), timeout)
            self._row = rows[self.id]
        return cast(R, self.maybe_throw(propagate))

    def __await__(self) -> Generator[Any, None, R]:
        """Wait for the value: ``value = await add.delay(2, 2)``."""
        return self.aget().__await__()

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, R], object] | None = None) -> Any:
        """Raise the task's exception if it has ended with one, else return what ``result`` is."""
        row = self._read()
        if propagate and row is not None and row.state in states.PROPAGATE_STATES:
            # Built anew: an exception that is raised keeps its frames alive, and those keep this result.
            raise _exception(row)
        value = self.result
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    @property
    def result(self) -> Any:
        """The value, the exception (also while the task waits to be retried), or a state's metadata."""
        if self._row is None:
            row = self._read()
            if self._row is None:
                return None if row is None else _value(row)
        if self._value is _UNREAD:
            self._value = _value(self._row)
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
        """The state now; an id that nothing is known of is ``PENDING``."""
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
        """Tell whether the task has ended well."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Tell whether the task has ended with an exception."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Tell whether there is a row: an id that was never sent, or has expired, has none."""
        return self._read() is not None

    # -- the task

    @property
    def task_id(self) -> str:
        """The same as ``id``."""
        return self.id

    @property
    def task_record(self) -> TaskRun | None:
        """The task's row with all its columns, read anew; ``None`` if there is none."""
        return backend.current().fetch((self.id,), ()).get(self.id)

    @property
    def name(self) -> str | None:
        """The name of the task."""
        row = self._read()
        return row.name if row else None

    @property
    def args(self) -> Any:
        """The positional arguments it was sent with; sensitive ones are masked."""
        return self._sent()[0]

    @property
    def kwargs(self) -> Any:
        """The keyword arguments it was sent with; sensitive ones are masked."""
        return self._sent()[1]

    @property
    def worker(self) -> str | None:
        """The name of the worker that ran it."""
        row = self._read()
        return (row.worker or None) if row else None

    @property
    def queue(self) -> str | None:
        """The queue it was sent to."""
        row = self._read()
        return (row.queue or None) if row else None

    @property
    def retries(self) -> int | None:
        """How often it was retried."""
        row = self._read()
        return row.retries if row else None

    @property
    def date_done(self) -> datetime | None:
        """When it ended, in UTC."""
        row = self._read()
        return row.finished_at if row else None

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """The results of the tasks that it sent, ``None`` before it has ended."""
        row = self._read()
        if row is None or not states.is_final(row.state):
            return None
        return [AsyncResult.from_tuple(child) for child in values.decode_children(row.children)]

    # -- changes

    def forget(self) -> None:
        """Delete the rows of this task and of those before it in its chain."""
        self._row, self._value, self._arguments = None, _UNREAD, None
        backend.current().forget(self.as_list())

    def revoke(self, terminate: bool = False, signal: str | int | None = None) -> None:
        """See to it that the task does not run.

        One that runs already goes on, unless ``terminate`` is true: then its process
        gets ``signal``, ``SIGTERM`` if none is given.
        """
        backend.current().revoke((self.id,), _signal_name(signal) if terminate else "")

    # -- asynchronous twins

    async def astate(self) -> str:
        """Return ``state``."""
        return await sync_to_async(lambda: self.state)()

    async def aresult(self) -> Any:
        """Return ``result``."""
        return await sync_to_async(lambda: self.result)()

    async def aready(self) -> bool:
        """Return ``ready()``."""
        return await sync_to_async(self.ready)()

    async def asuccessful(self) -> bool:
        """Return ``successful()``."""
        return await sync_to_async(self.successful)()

    async def afailed(self) -> bool:
        """Return ``failed()``."""
        return await sync_to_async(self.failed)()

    async def aexists(self) -> bool:
        """Return ``exists()``."""
        return await sync_to_async(self.exists)()

    async def aforget(self) -> None:
        """Do ``forget()``."""
        await sync_to_async(self.forget)()

    async def arevoke(self, terminate: bool = False, signal: str | int | None = None) -> None:
        """Do ``revoke()``."""
        await sync_to_async(self.revoke)(terminate, signal)

    # -- as plain data

    def as_tuple(self) -> tuple[Any, Any]:
        """Return ``((id, parent), None)``, Celery's plain form of a result."""
        return (self.id, self.parent.as_tuple() if self.parent is not None else None), None

    def as_list(self) -> list[str]:
        """Return the ids of this result and of those before it in its chain."""
        return [self.id, *(self.parent.as_list() if isinstance(self.parent, AsyncResult) else ())]

    @classmethod
    def from_tuple(cls, data: Any) -> AsyncResult[Any]:
        """Build the result that ``as_tuple`` described."""
        if isinstance(data, str):
            return AsyncResult(data)
        (id, parent), _ = data
        return AsyncResult(id, parent=cls.from_tuple(parent) if parent else None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.id, self.parent, self.ignored)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    # -- reading

    def _read(self, columns: Collection[str] = COLUMNS) -> TaskRun | None:
        """Return the row, from memory if it is final."""
        if self._row is not None:
            return self._row
        row = backend.current().fetch((self.id,), columns).get(self.id)
        if row is not None and states.is_final(row.state):
            self._row = row
        return row

    def _sent(self) -> Any:
        """Return ``[args, kwargs]``, or twice ``None`` if they are not known."""
        if self._arguments is None:
            row = backend.current().fetch((self.id,), ("arguments",)).get(self.id)
            if row is None or row.arguments is None:
                return None, None
            self._arguments = _decoded_arguments(row.arguments)
        return self._arguments


def _rebuild(cls: type[AsyncResult[R]], id: str, parent: ResultBase | None, ignored: bool) -> AsyncResult[R]:
    return cls(id, parent, ignored=ignored)


def _value(row: TaskRun) -> Any:
    """Return what the row's ``result`` says: an exception in the states that have one."""
    if row.state in states.EXCEPTION_STATES:
        return _exception(row)
    return values.decode(row.result, row.content_type)


def _exception(row: TaskRun) -> BaseException:
    """Rebuild the row's exception, with the worker's traceback as its cause."""
    if row.result is None and row.state == states.REVOKED:
        return TaskRevokedError("revoked")
    exception = values.decode_exception(row.result)
    if row.traceback:
        exception.__cause__ = RemoteTraceback(row.traceback)
    return exception


def _decoded_arguments(text: str) -> Any:
    try:
        args, kwargs = values.decode(text)
    except (ValueError, TypeError, DecodeError):
        return None, None
    return args, kwargs


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
