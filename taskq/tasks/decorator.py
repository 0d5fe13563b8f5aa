"""``@task`` and ``@shared_task`` make a ``Task`` of a function and register it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypedDict, TypeVar, overload

from taskq.calls.options import Exceptions, FromSetting, refuse_unknown
from taskq.calls.registry import name_of, register

from .task import Task
from .validation import OPTIONS

if TYPE_CHECKING:
    from typing import Unpack

    from kombu.entity import Exchange, Queue

    from .pydantic_models import Models

__all__ = ["CoroutineTask", "shared_task", "task"]

#: The options of ``@task`` that belong to ``pydantic=True``.
MODEL_OPTIONS = ("pydantic_strict", "pydantic_context", "pydantic_dump_kwargs")

P = ParamSpec("P")
R = TypeVar("R")


if TYPE_CHECKING:

    class CoroutineTask(Task[P, R]):
        """An ``async def`` task for type checkers: a call returns a coroutine, ``delay`` a result of the value."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]
            """See ``Task``."""

else:
    CoroutineTask = Task


class TaskOptions(TypedDict, total=False):
    """The options of ``@task(...)``, documented in ``Task``. A ``base`` may declare more."""

    name: str | None
    base: type[Task[..., Any]]
    ignore_result: bool | None
    store_errors_even_if_ignored: bool | None
    track_started: bool | None
    trail: bool
    serializer: str | None
    compression: str | None
    queue: str | Queue | None
    exchange: str | Exchange | None
    routing_key: str | None
    priority: int | None
    expires: float | timedelta | datetime | str | None
    acks_late: bool | None
    max_deliveries: int | None
    time_limit: float | None
    soft_time_limit: float | None
    rate_limit: str | float | None
    rate_limit_scope: Literal["worker", "cluster"]
    max_retries: int | None
    default_retry_delay: float | None
    autoretry_for: Exceptions
    dont_autoretry_for: Exceptions
    retry_kwargs: Mapping[str, Any]
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    throws: Exceptions
    typing: bool | None
    sensitive: Sequence[str]
    pydantic: bool
    pydantic_strict: bool
    pydantic_context: Mapping[str, Any] | None
    pydantic_dump_kwargs: Mapping[str, Any] | None
    before_start: Callable[..., object]
    on_success: Callable[..., object]
    on_retry: Callable[..., object]
    on_failure: Callable[..., object]
    after_return: Callable[..., object]


class _Decorator(Protocol):
    """The decorator that ``@task(...)`` returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class _BindingDecorator(Protocol):
    """The decorator that ``@task(bind=True, ...)`` returns: the function's first argument is the task."""

    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(*, bind: Literal[True], **options: Unpack[TaskOptions]) -> _BindingDecorator: ...
@overload
def task(*, bind: Literal[False] = False, **options: Unpack[TaskOptions]) -> _Decorator: ...
def task(function: Callable[..., Any] | None = None, /, *, bind: bool = False, **options: Any) -> Any:
    """Make a task of a function: ``@task`` or ``@task(queue="mail", max_retries=5)``.

    Args:
        function: the function, or coroutine function, that does the work.
        bind: give the function the task itself as its first argument, ``self``.
        **options: the attributes of ``Task`` and of ``base``, ``name`` and ``base``. A handler, as ``on_failure=f``,
            becomes a method: its first argument is the task, then come the arguments of ``Task.on_failure``.
            ``pydantic=True`` validates models of pydantic, with ``pydantic_strict``, ``pydantic_context`` and
            ``pydantic_dump_kwargs``.

    Raises:
        TypeError: an unknown option, or a value of the wrong type.
        ValueError: an invalid value, as a negative time limit.
        ImproperlyConfigured: ``pydantic=True`` without pydantic.
    """
    if function is not None:
        return _define(function, bind, options)
    return lambda function: _define(function, bind, options)


#: The same as ``task``: Django has one registry of tasks, so every task is shared.
shared_task = task


def _define(function: Callable[..., Any], bind: bool, options: dict[str, Any]) -> Task[..., Any]:
    """Make a subclass of ``base`` that runs ``function``, and register its instance."""
    if not callable(function):
        raise TypeError(f"@task decorates a function, not {function!r}; options are given by name.")
    name = function.__qualname__ if hasattr(function, "__qualname__") else type(function).__qualname__
    base: type[Task[..., Any]] = _base(options.get("base"), name)
    options = dict(options)
    models = _models(function, bind, options, options.get("name") or name)
    run = function if models is None else models.wrapped()
    attributes = {key: value for key, value in options.items() if key != "base" and not _follows_setting(key, value)}
    refuse_unknown(attributes, _option_names(base), f"@task of {name}")
    origin = name_of(function.__module__, name)
    attributes |= {
        "name": options.get("name") or origin,
        "origin": origin,
        "run": run if bind else staticmethod(run),
        "dump_arguments": None if models is None else staticmethod(models.dumped),
        "__module__": function.__module__,
        "__qualname__": name,
        "__doc__": function.__doc__,
        "__wrapped__": staticmethod(function),
    }
    made: Task[..., Any] = register(type(name.rpartition(".")[2], (base,), attributes))
    if models is not None:
        models.sensitive = made.sensitive
    return made


def _models(function: Callable[..., Any], bind: bool, options: dict[str, Any], name: str) -> Models | None:
    """Remove pydantic's options from ``options``, and return the models of the function; ``None`` without them."""
    wanted = options.pop("pydantic", False)
    given = {option.removeprefix("pydantic_"): options.pop(option) for option in MODEL_OPTIONS if option in options}
    if not isinstance(wanted, bool):
        raise TypeError(f"@task of {name}: pydantic must be True or False, not {wanted!r}.")
    if not wanted:
        return None
    from .pydantic_models import Models

    return Models(function, name, bind=bind, **given)


def _base(given: Any, name: str) -> type[Task[..., Any]]:
    if given is None:
        return Task
    if not (isinstance(given, type) and issubclass(given, Task)):
        raise TypeError(f"@task of {name}: base must be a subclass of taskq.Task, not {given!r}.")
    return given


def _follows_setting(name: str, value: Any) -> bool:
    """Tell whether ``None`` means the setting; for ``max_retries`` it means no limit."""
    return value is None and name != "max_retries" and isinstance(vars(Task).get(name), FromSetting)


def _option_names(base: type[Task[..., Any]]) -> frozenset[str]:
    """Return the names of options: those of every task, and the attributes that ``base`` declares."""
    own = {name for name in dir(base) if not name.startswith("_") and not hasattr(Task, name)}
    return frozenset(OPTIONS.keys() | own)
