"""``EagerResult``: the result of a task that was run in the calling process. It reads no row and never waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from taskq import states

from . import decoding
from .async_result import AsyncResult
from .base import ResultBase

if TYPE_CHECKING:
    from taskq.models import TaskRun

    from .group_result import GroupResult

R = TypeVar("R")


class EagerResult(AsyncResult[R]):
    """A result that is ready at once, or when the transaction commits for which its task waits.

    ``value`` is the return value. In the exception states it is the exception, and ``get()``
    raises the same object.
    """

    __slots__ = (
        "_args",
        "_children",
        "_date_done",
        "_kwargs",
        "_name",
        "_queue",
        "_result",
        "_retries",
        "_state",
        "_tb",
    )

    def __init__(
        self,
        id: str,
        value: Any,
        state: str,
        traceback: str | None = None,
        *,
        name: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        retries: int = 0,
        queue: str | None = None,
        date_done: datetime | None = None,
        children: Sequence[AsyncResult[Any] | GroupResult[Any]] = (),
        parent: ResultBase | None = None,
    ) -> None:
        super().__init__(id, parent)
        self._result, self._state, self._tb = value, state, traceback
        self._name, self._args, self._kwargs = name, list(args), dict(kwargs or {})
        self._retries, self._queue, self._date_done = retries, queue, date_done
        self._children = list(children)

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
        """Return the value or raise the exception; the other arguments are those of ``AsyncResult.get``.

        Raises ``RuntimeError`` if the task has not run: a wait can't end the transaction.
        """
        if self._state == states.PENDING:
            raise RuntimeError(
                f"The task {self.id} has not run: it runs when the transaction commits, and never if the transaction "
                "rolls back. Call get() after the block."
            )
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
        """Do ``get`` from a coroutine."""
        return self.get(timeout, propagate, follow_parents=follow_parents)

    def become(self, ended: EagerResult[R]) -> None:
        """Copy the state and the value of ``ended``, now that the task has run."""
        for name in EagerResult.__slots__:
            setattr(self, name, getattr(ended, name))

    @property
    def result(self) -> Any:
        """The value, or the exception."""
        return self._result

    @property
    def traceback(self) -> str | None:
        """The traceback of the exception, as text."""
        return self._tb

    @property
    def state(self) -> str:
        """The state in which the task ended; ``PENDING`` before it has run."""
        return self._state

    def exists(self) -> bool:
        """Tell whether the task has run."""
        return self._state != states.PENDING

    @property
    def task_record(self) -> TaskRun | None:
        """An eager task has no row."""
        return None

    @property
    def name(self) -> str | None:
        """The name of the task."""
        return self._name

    @property
    def worker(self) -> str | None:
        """No worker ran it."""
        return None

    @property
    def queue(self) -> str | None:
        """The queue that the task would have been sent to."""
        return self._queue

    @property
    def retries(self) -> int | None:
        """How often the task was retried."""
        return self._retries

    @property
    def date_done(self) -> datetime | None:
        """When the task ended, in UTC."""
        return self._date_done

    @property
    def children(self) -> list[AsyncResult[Any] | GroupResult[Any]] | None:
        """The results of the tasks that this task sent, ``None`` before it has run."""
        return self._children if self.exists() else None

    def forget(self) -> None:
        """Do nothing: there is no row."""

    def revoke(self, terminate: bool = False, signal: str | int | None = None) -> None:
        """Do nothing: the task has run, or runs when the transaction commits."""

    def _class_and_keywords(self) -> tuple[Any, ...]:
        return EagerResult, {"id": self.id, "value": self._result, "state": self._state, "traceback": self._tb}

    def _read_arguments(self) -> Any:
        return self._args, self._kwargs

    def _value_or_raise(
        self, propagate: bool, follow_parents: bool, callback: Callable[[str, R], object] | None = None
    ) -> Any:
        if propagate and self._state in states.PROPAGATE_STATES:
            error = self._result if isinstance(self._result, BaseException) else Exception(self._result)
            raise decoding.member_error(error) if follow_parents else error
        if callback is not None:
            callback(self.id, self._result)
        return self._result

    def _known_state(self) -> str | None:
        return self._state if self.exists() else None

    def _keep_row(self, row: TaskRun | None) -> None:
        """Do nothing: no row is read."""

    def _forget_row(self) -> None:
        """Do nothing: no row was read."""
