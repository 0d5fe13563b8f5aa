"""``Task``: a function that can be sent to a worker, with its options and handlers.

``@task`` makes one of a function, a subclass with ``run`` is one too. Calling a
task runs the function here; ``delay`` and its kin send it. How it is run by a
worker is the business of ``worker.execution``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, cast

from asgiref.sync import sync_to_async

from taskq.calls.context import Context, context_of, current, enter, leave
from taskq.calls.options import Exceptions, SendOptions, check_limit_order, from_setting
from taskq.calls.registry import name_of, tasks
from taskq.conf import settings
from taskq.sending import send

from . import progress, retrying, validation
from .canvas_methods import CanvasMethods

if TYPE_CHECKING:
    from typing import Unpack

    from kombu.entity import Exchange, Queue

    from taskq.calls.options import RetryOptions
    from taskq.exceptions import Retry
    from taskq.results.async_result import AsyncResult as Result
    from taskq.results.eager import EagerResult

__all__ = ["Task"]

P = ParamSpec("P")
R = TypeVar("R")


class Task(CanvasMethods[R], Generic[P, R]):
    """The definition of a task.

    Every option is an attribute that a subclass, ``@task(...)`` or the instance
    may give another value. Those without a value here follow the setting of the same name.
    """

    # -- options

    #: The name on the wire; by default the import path.
    name: str = ""
    #: True for a class that is only there to be a ``base``. It is not inherited.
    abstract: ClassVar[bool] = True
    #: Keep no row of a success.
    ignore_result: bool = from_setting("IGNORE_RESULT")
    #: Keep failures even if the result is ignored.
    store_errors_even_if_ignored: bool = from_setting("STORE_ERRORS_EVEN_IF_IGNORED")
    #: Write ``STARTED`` when it starts.
    track_started: bool = from_setting("TRACK_STARTED")
    #: Remember which tasks a run has sent.
    trail: bool = True
    serializer: str = from_setting("SERIALIZER")
    compression: str | None = from_setting("COMPRESSION")
    #: Where it goes if neither the call nor ``TASKQ_ROUTES`` says so.
    queue: str | Queue | None = None
    exchange: str | Exchange | None = None
    routing_key: str | None = None
    #: 0 to 9, larger is sooner.
    priority: int | None = None
    #: Seconds, or a moment, after which it is not started any more.
    expires: float | timedelta | datetime | str | None = None
    #: Acknowledge after the end, so that it runs again when its worker dies.
    acks_late: bool = from_setting("ACKS_LATE")
    #: How many starts may end with the worker's death.
    max_deliveries: int = from_setting("MAX_DELIVERIES")
    #: Seconds after which it is killed.
    time_limit: float | None = None
    #: Seconds after which ``SoftTimeLimitExceeded`` is raised in it.
    soft_time_limit: float | None = None
    #: How often it may be retried, ``None`` without end.
    max_retries: int | None = from_setting("MAX_RETRIES")
    #: Seconds before a retry that names no time.
    default_retry_delay: float = from_setting("DEFAULT_RETRY_DELAY")
    #: Exceptions after which it is retried by itself, and those of them after which it is not: a class or a tuple.
    autoretry_for: Exceptions = ()
    dont_autoretry_for: Exceptions = ()
    #: Arguments of ``retry()`` for that: ``max_retries``, ``countdown``, ...
    retry_kwargs: Mapping[str, Any] = {}
    #: Wait this many seconds (``True`` is 1) before a retry by itself, then twice that, and so on; ``False`` always
    #: waits ``default_retry_delay``.
    retry_backoff: bool | float = False
    #: The longest of these waits, in seconds.
    retry_backoff_max: float = 600
    #: Wait any time between 0 and that, so that tasks that failed together are not retried together.
    retry_jitter: bool = True
    #: Exceptions that are no surprise: the task fails, without a traceback in the log.
    throws: Exceptions = ()
    #: Check arguments against the signature when it is sent.
    typing: bool = from_setting("TYPING")
    #: A tuple of names of parameters whose values are not to be seen in rows, logs and monitors.
    sensitive: Sequence[str] = ()

    #: The import path of what it was made from.
    origin: str = ""

    def prepare(self) -> None:
        """Name the task after its class if it has no name, and check its definition. ``register`` calls it.

        Not ``__init__``: a subclass may have its own and forget this one.
        Raises ``TypeError`` or ``ValueError`` for a definition that can't be run.
        """
        cls = type(self)
        self.origin = self.origin or name_of(cls.__module__, cls.__qualname__)
        self.name = self.name or self.origin
        if cls.__dict__.get("abstract") or cls.run is Task.run:
            raise TypeError(f"{self.origin} can't be registered: it is abstract, or has no run().")
        validation.check(self, Task)
        check_limit_order(self.name, self.time_limit, self.soft_time_limit)
        if unknown := set(self.sensitive) - set(self.call_signature.parameters):
            raise TypeError(f"{self.name} has no parameter {unknown.pop()!r}, which sensitive= names.")

    # -- the function

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the task does."""
        raise NotImplementedError(f"{self.name} has no run().")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now; nothing is sent."""
        context = current()
        if context is not None and context.definition is self and not context.entered:
            context.entered = True  # a worker's run that comes through a __call__ of the user's
            return self.run(*args, **kwargs)
        token = enter(Context(self, context, args=args, kwargs=kwargs))
        try:
            return self.run(*args, **kwargs)
        finally:
            leave(token)

    @cached_property
    def entry(self) -> Callable[..., Any]:
        """What a worker calls: ``run``, or the user's own ``__call__``."""
        return self.run if type(self).__call__ is Task.__call__ else self.__call__

    @cached_property
    def call_signature(self) -> inspect.Signature:
        """The signature of the function, without ``self``; ``(*args, **kwargs)`` if it does not tell."""
        try:
            return inspect.signature(self.run)
        except ValueError:  # as some builtins
            return inspect.signature(Task.run.__get__(self))

    @cached_property
    def positions(self) -> dict[str, int]:
        """The position of each parameter that can be given by position."""
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = self.call_signature.parameters.values()
        return {p.name: i for i, p in enumerate(parameters) if p.kind in by_position}

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise ``TypeError`` if the function can't be called like that."""
        try:
            self.call_signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None

    # -- calling

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Send the task with these arguments."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[SendOptions]
    ) -> Result[R]:
        """Send the task; it takes part in the caller's transaction.

        Args:
            args: positional arguments, a list or a tuple.
            kwargs: keyword arguments.
            **options: ``countdown`` (seconds or timedelta) or ``eta`` (datetime or ISO 8601) for the earliest start,
                ``expires`` (any of these), ``queue`` and ``exchange`` (names, or kombu's objects),
                ``exchange_type``, ``routing_key``, ``priority`` (0 to 9, larger is sooner), ``task_id``,
                ``serializer``, ``compression``, ``ignore_result``, ``time_limit`` and ``soft_time_limit``
                (seconds), ``headers``, ``shadow``, ``argsrepr``, ``kwargsrepr``, ``add_to_parent``, ``link`` and
                ``link_error`` (signatures to send with the value, and to call after a final failure), and for
                workflows ``root_id``, ``parent_id``, ``group_id``, ``group_index``, ``chain``, ``chord``,
                ``retries``, ``reply_to``.

        Raises:
            TypeError: an unknown option; arguments of the wrong shape; with ``typing``, arguments that don't fit.
            EncodeError: an argument that can't be sent.
            QueueNotFound: a queue that is not declared, while ``TASKQ_CREATE_MISSING_QUEUES`` is off.
        """
        if settings.ALWAYS_EAGER:
            return self._apply(args, kwargs, dict(options))
        return send.send(self.name, self, args, kwargs, dict(options))

    def delay_many(self, calls: Iterable[Sequence[Any]], **options: Unpack[SendOptions]) -> list[Result[R]]:
        """Send the task once for each tuple of arguments in ``calls``, in one transaction, many in one statement.

        ``options`` are those of ``apply_async``, for all of them.
        """
        if settings.ALWAYS_EAGER:
            return [self._apply(args, None, dict(options)) for args in calls]
        return send.send_many(self, calls, dict(options))

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Send the task when the transaction on ``TASKQ_DATABASE`` commits. The result has its id at once."""
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[SendOptions]
    ) -> Result[R]:
        """Do what ``apply_async`` does, when the transaction on ``TASKQ_DATABASE`` commits."""
        if settings.ALWAYS_EAGER:
            from taskq.eager.apply import apply_on_commit

            return apply_on_commit(self, args, kwargs, dict(options))
        return send.send_on_commit(self.name, self, args, kwargs, dict(options))

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        **options: Unpack[SendOptions],
    ) -> EagerResult[R]:
        """Run the task here as a worker would, arguments encoded and decoded, and return its result.

        ``throw`` lets its exception through; the default is ``TASKQ_EAGER_PROPAGATES``. Times are not waited for.
        """
        return self._apply(args, kwargs, dict(options), throw)

    def _apply(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: dict[str, Any],
        throw: bool | None = None,
    ) -> EagerResult[R]:
        from taskq.eager.apply import apply

        return apply(self.name, self, args, kwargs, options, throw)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Do what ``delay`` does, from a coroutine."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[SendOptions]
    ) -> Result[R]:
        """Do what ``apply_async`` does, from a coroutine."""
        call: Callable[..., Result[R]] = self.apply_async
        return await sync_to_async(call)(args, kwargs, **options)

    async def adelay_many(self, calls: Iterable[Sequence[Any]], **options: Unpack[SendOptions]) -> list[Result[R]]:
        """Do what ``delay_many`` does, from a coroutine."""
        call: Callable[..., list[Result[R]]] = self.delay_many
        return await sync_to_async(call)(calls, **options)

    def AsyncResult(self, task_id: str) -> Result[R]:
        """Return the result of a task of this kind that was sent before."""
        from taskq.results.async_result import AsyncResult

        return AsyncResult(task_id)

    # -- while it runs

    @property
    def request(self) -> Context:
        """What is known of the run that is under way here."""
        return context_of(self)

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | str | None = None,
        countdown: float | timedelta | None = None,
        max_retries: int | None = None,
        **options: Unpack[RetryOptions],
    ) -> Retry:
        """Run the task again later: ``raise self.retry(exc=error)``.

        Args:
            args: other positional arguments for the next try.
            kwargs: other keyword arguments for the next try.
            exc: what went wrong; raised when there are no tries left.
            throw: false returns the exception ``Retry`` instead of raising it. The task is retried once it returns.
            eta: when, as a datetime or in ISO 8601.
            countdown: in how many seconds (or a timedelta), ``default_retry_delay`` if neither is given.
            max_retries: another limit than the task's.
            **options: options of the message to change, as ``queue`` or ``priority``.

        Raises:
            Retry: always, unless ``throw`` is false.
            MaxRetriesExceededError: no tries are left and there is no ``exc``.
        """
        return retrying.retry(
            self,
            args,
            kwargs,
            exc=exc,
            throw=throw,
            eta=eta,
            countdown=countdown,
            max_retries=max_retries,
            options=dict(options),
        )

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None) -> None:
        """Write a state of your own, as ``"PROGRESS"``, with anything that can be encoded as ``meta``.

        ``task_id`` may only be that of the run under way. Does nothing when the
        function is called directly.
        """
        progress.update(self.request, task_id, state, meta)

    # -- handlers: methods of a class, or functions that ``@task(on_failure=f)`` makes methods; ``self`` is the task

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Run before the function. What it raises is a failure of the task."""

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Run in the worker after a success. What it raises is logged."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Run in the worker when the task is to be retried. What it raises is logged."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Run in the worker after a failure. What it raises is logged."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Run in the worker after the other handlers, whatever the end. What it raises is logged."""

    # -- as an object

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_name, (self.name,)

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"


def _by_name(name: str) -> Task[..., Any]:
    return cast("Task[..., Any]", tasks[name])
