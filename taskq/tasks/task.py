"""``Task``: a function that can be sent to a worker, with its options and handlers.

``@task`` makes a task of a function; a subclass with ``run`` is a task too. Calling it runs the function
in this process; ``delay`` and ``apply_async`` send it, and ``execution`` runs it in a worker.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, cast

from asgiref.sync import sync_to_async

from taskq import exceptions
from taskq.calls.context import Context, context_of, current, enter, leave
from taskq.calls.options import Exceptions, OnCommitOptions, SendOptions, from_setting
from taskq.calls.registry import name_of, tasks
from taskq.conf import settings
from taskq.sending import send

from . import retrying, validation
from .canvas_methods import CanvasMethods
from .progress import ProgressMethods

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


class Task(CanvasMethods[R], ProgressMethods, Generic[P, R]):
    """The definition of a task.

    Every option is an attribute that a subclass, ``@task(...)`` or the instance may set.
    An option that has a setting follows the setting until then.
    """

    # -- options

    #: The name on the wire; by default the import path.
    name: str = ""
    #: True for a class that is only a ``base``. It is not inherited.
    abstract: ClassVar[bool] = True
    #: Keep no TaskRun of a success.
    ignore_result: bool = from_setting("IGNORE_RESULT")
    #: Keep failures even if the result is ignored.
    store_errors_even_if_ignored: bool = from_setting("STORE_ERRORS_EVEN_IF_IGNORED")
    #: Write the state ``STARTED`` when the task starts.
    track_started: bool = from_setting("TRACK_STARTED")
    #: Keep the results of the tasks that a run sends as its children.
    trail: bool = True
    serializer: str = from_setting("SERIALIZER")
    compression: str | None = from_setting("COMPRESSION")
    #: The destination if neither the call nor ``TASKQ_ROUTES`` names one.
    queue: str | Queue | None = None
    exchange: str | Exchange | None = None
    routing_key: str | None = None
    #: 0 to 9, larger is sooner.
    priority: int | None = None
    #: Seconds, or a moment, after which the task is not started any more.
    expires: float | timedelta | datetime | str | None = None
    #: Acknowledge the message after the end: the task runs again if its worker dies.
    acks_late: bool = from_setting("ACKS_LATE")
    #: The number of starts, if workers die while they run the task; then it fails.
    max_deliveries: int = from_setting("MAX_DELIVERIES")
    #: Seconds after which the task is killed.
    time_limit: float | None = from_setting("TIME_LIMIT")
    #: Seconds after which ``SoftTimeLimitExceeded`` is raised in the task.
    soft_time_limit: float | None = from_setting("SOFT_TIME_LIMIT")
    #: The starts, as ``"100/m"`` or a number per second: in each ``"worker"``, or in all of a ``"cluster"``.
    rate_limit: str | float | None = from_setting("DEFAULT_RATE_LIMIT")
    rate_limit_scope: str = "worker"
    #: The number of retries, ``None`` for no limit.
    max_retries: int | None = from_setting("MAX_RETRIES")
    #: Seconds before a retry without ``countdown`` and ``eta``.
    default_retry_delay: float = from_setting("DEFAULT_RETRY_DELAY")
    #: Exceptions that retry the task automatically, and exceptions to these.
    autoretry_for: Exceptions = ()
    dont_autoretry_for: Exceptions = ()
    #: Arguments of ``retry()`` for automatic retries: ``max_retries``, ``countdown``, ...
    retry_kwargs: Mapping[str, Any] = {}
    #: Seconds (``True``: 1) before the first automatic retry, doubled each time; ``False``: ``default_retry_delay``.
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    #: Wait a random part of that time: tasks that failed together are then not retried together.
    retry_jitter: bool = True
    #: Expected exceptions: the task fails, without a traceback in the log.
    throws: Exceptions = ()
    #: Check arguments against the function's signature when the task is sent.
    typing: bool = from_setting("TYPING")
    #: Names of parameters whose values are masked in rows, logs and monitors: a tuple.
    sensitive: Sequence[str] = ()

    #: Turns models among the arguments of a call into data; set by ``@task(pydantic=True)``.
    dump_arguments: Callable[[Any, Any], tuple[Any, Any]] | None = None
    #: The exception of ``retry()`` when no retries are left; a subclass may name another one.
    MaxRetriesExceededError: type[exceptions.MaxRetriesExceededError] = exceptions.MaxRetriesExceededError
    #: The exception of ``delay`` when the broker can't be reached.
    OperationalError: type[Exception] = exceptions.OperationalError

    #: The import path of the function or class.
    origin: str = ""

    def prepare(self) -> None:
        """Set the name if there is none, and check the definition. ``register`` calls it.

        Not ``__init__``: a subclass may override that without calling this.
        Raises ``TypeError`` or ``ValueError`` for an invalid definition.
        """
        cls = type(self)
        self._describe(vars(cls).get("__wrapped__"))
        self.origin = self.origin or name_of(cls.__module__, cls.__qualname__)
        self.name = self.name or self.origin
        if cls.__dict__.get("abstract") or cls.run is Task.run:
            raise TypeError(f"{self.origin} can't be registered: it is abstract, or has no run().")
        validation.check(self, Task)
        if unknown := set(self.sensitive) - set(self.call_signature.parameters):
            raise TypeError(f"{self.name} has no parameter {unknown.pop()!r}, which sensitive= names.")

    def _describe(self, wrapped: Any) -> None:
        """Set ``__name__``, ``__qualname__`` and ``__annotations__``: those of the function, or of the class."""
        cls = type(self)
        function = cls.run if wrapped is None else wrapped.__func__
        self.__name__ = cls.__name__ if wrapped is None else getattr(function, "__name__", cls.__name__)
        self.__qualname__ = cls.__qualname__
        self.__annotations__ = getattr(function, "__annotations__", {})

    # -- the function

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Do the task's work; a subclass implements it."""
        raise NotImplementedError(f"{self.name} has no run().")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function in this process; nothing is sent: ``add(2, 2)``."""
        context = current()
        if context is not None and context.definition is self and not context.entered:
            context.entered = True  # a worker's run, through the user's own __call__
            return self.run(*args, **kwargs)
        token = enter(Context(self, context, args=args, kwargs=kwargs))
        try:
            return self.run(*args, **kwargs)
        finally:
            leave(token)

    @cached_property
    def entry(self) -> Callable[..., Any]:
        """The function that a worker calls, ``run`` or the user's own ``__call__``."""
        return self.run if type(self).__call__ is Task.__call__ else self.__call__

    @cached_property
    def call_signature(self) -> inspect.Signature:
        """The signature of the function, without ``self``; ``(*args, **kwargs)`` if it is not known."""
        try:
            return inspect.signature(self.run)
        except ValueError:  # of some builtins
            return inspect.signature(Task.run.__get__(self))

    @cached_property
    def positions(self) -> dict[str, int]:
        """The position of each positional parameter."""
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = self.call_signature.parameters.values()
        return {p.name: i for i, p in enumerate(parameters) if p.kind in by_position}

    @cached_property
    def binds(self) -> bool:
        """Whether the function gets the task as its first argument, ``self``."""
        return not isinstance(inspect.getattr_static(self, "run"), staticmethod)

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise ``TypeError`` if the function does not take these arguments."""
        try:
            self.call_signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None

    # -- calling

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Send the task with these arguments: ``add.delay(2, 2)``."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[SendOptions]
    ) -> Result[R]:
        """Send the task in the caller's transaction: ``add.apply_async((2, 2), countdown=10)``.

        Args:
            args: positional arguments, a list or a tuple.
            kwargs: keyword arguments.
            **options: ``countdown`` (seconds or timedelta) or ``eta`` (datetime or ISO 8601) for the earliest start,
                ``expires`` (any of these), ``queue`` and ``exchange`` (names, or kombu's objects),
                ``exchange_type``, ``routing_key``, ``priority`` (0 to 9, larger is sooner), ``task_id``,
                ``serializer``, ``compression``, ``ignore_result``, ``time_limit`` and ``soft_time_limit``
                (seconds), ``headers``, ``shadow``, ``argsrepr``, ``kwargsrepr``, ``add_to_parent``, ``throw``, ``link``
                and ``link_error`` (signatures to send with the value, and to call after a final failure), and for
                workflows ``root_id``, ``parent_id``, ``group_id``, ``group_index``, ``chain``, ``chord``,
                ``retries``, ``reply_to``; for other programs the properties ``app_id``, ``message_id``, ``type``,
                ``user_id`` and ``cluster_id``.

        Raises:
            TypeError: an unknown option; arguments of the wrong type; with ``typing``, a wrong call of the function.
            EncodeError: an argument that can't be encoded.
            QueueNotFound: a queue that is not declared, while ``TASKQ_CREATE_MISSING_QUEUES`` is off.
        """
        if settings.ALWAYS_EAGER:
            return self._apply(args, kwargs, dict(options))
        return send.send(self.name, self, args, kwargs, dict(options))

    def delay_many(self, calls: Iterable[Sequence[Any]], **options: Unpack[SendOptions]) -> list[Result[R]]:
        """Send many calls in one transaction, many per statement: ``add.delay_many([(1, 1), (2, 2)])``.

        ``calls`` are tuples of positional arguments; all calls get ``options``, as of ``apply_async``.
        """
        if settings.ALWAYS_EAGER:
            return [self._apply(args, None, dict(options)) for args in calls]
        return send.send_many(self, calls, dict(options))

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Send the task when the caller's transaction commits: ``mail.delay_on_commit(order.pk)``.

        See ``apply_async_on_commit``, which takes options.
        """
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[OnCommitOptions],
    ) -> Result[R]:
        """As ``apply_async``, when the caller's transaction commits, at once if there is none.

        The transaction may be on any database of the project; ``using="stats"`` names its alias. The result has its
        id at once. If the transaction is rolled back, the task is never sent.

        Raises:
            RuntimeError: the caller has transactions on several databases, and ``using`` is not given.
        """
        if settings.ALWAYS_EAGER:
            from taskq.eager.apply import apply_on_commit

            return apply_on_commit(self, args, kwargs, dict(options))
        return send.send_on_commit(self.name, self, args, kwargs, dict(options))

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> EagerResult[R]:
        """Run the task in this process as a worker would, and return its result: ``add.apply((2, 2)).get()``.

        ``throw=True`` raises its exception (default: ``TASKQ_EAGER_PROPAGATES``). ``countdown`` and ``eta`` are
        ignored.
        """
        return self._apply(args, kwargs, dict(options))

    def _apply(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: dict[str, Any],
    ) -> EagerResult[R]:
        from taskq.eager.apply import apply

        return apply(self.name, self, args, kwargs, options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Do ``delay`` from a coroutine."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[SendOptions]
    ) -> Result[R]:
        """Do ``apply_async`` from a coroutine."""
        call: Callable[..., Result[R]] = self.apply_async
        return await sync_to_async(call)(args, kwargs, **options)

    async def adelay_many(self, calls: Iterable[Sequence[Any]], **options: Unpack[SendOptions]) -> list[Result[R]]:
        """Do ``delay_many`` from a coroutine."""
        call: Callable[..., list[Result[R]]] = self.delay_many
        return await sync_to_async(call)(calls, **options)

    def AsyncResult(self, task_id: str) -> Result[R]:
        """Return the result of an earlier call: ``add.AsyncResult(task_id).get()``."""
        from taskq.results.async_result import AsyncResult

        return AsyncResult(task_id)

    # -- while it runs

    @property
    def request(self) -> Context:
        """The context of the current run, with its id, arguments, retries and headers."""
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
            exc: the cause of the retry; raised if no retries are left.
            throw: false returns the exception ``Retry`` instead of raising it; the retry is sent when the task returns.
            eta: the earliest start, as a datetime or in ISO 8601.
            countdown: seconds (or a timedelta) until then; ``default_retry_delay`` if neither is given.
            max_retries: another limit than the task's.
            **options: options of the message to change, as ``queue`` or ``priority``.

        Raises:
            Retry: always, unless ``throw`` is false.
            MaxRetriesExceededError: no retries are left and there is no ``exc``.
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

    # -- handlers: methods of a subclass, or functions as in ``@task(on_failure=f)``; ``self`` is the task

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Run before the function. An exception makes the task fail."""

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Run in the worker after a success. Exceptions are logged."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Run in the worker before a retry. Exceptions are logged."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Run in the worker after a failure. Exceptions are logged."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Run in the worker after the other handlers, after every end. Exceptions are logged."""

    # -- as an object

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_name, (self.name,)

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"


def _by_name(name: str) -> Task[..., Any]:
    return cast("Task[..., Any]", tasks[name])
