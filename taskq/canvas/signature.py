"""``Signature``: a call of a task as a value, to be passed on, stored, combined and sent later.

It is a dictionary with Celery's six keys, so it can be JSON and an argument of a task. ``chain``,
``group``, ``chord`` and the maps are signatures too. Building a signature reads and sends nothing.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from asgiref.sync import sync_to_async

from taskq.calls import masking
from taskq.calls.definition import TaskDefinition
from taskq.calls.registry import tasks
from taskq.workflows.depth import limit_depth
from taskq.workflows.fields import Args, Kwargs, as_list, check_signature, checked_arguments, copied_fields, merged
from taskq.workflows.freezing import Freezer
from taskq.workflows.types import REGISTERED

if TYPE_CHECKING:
    from taskq.results.async_result import AsyncResult
    from taskq.results.eager import EagerResult

    from .chain import chain

__all__ = ["Signature", "maybe_signature", "part_of", "parts_of", "signature", "subtask"]

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T", bound="Signature[Any]")


class Signature(dict[str, Any], Generic[R]):
    """A task's name, arguments and options.

    Args:
        task: the name of a task, a ``Task``, or a signature as a dictionary.
        args: positional arguments; the arguments of a later call come before them.
        kwargs: keyword arguments; the arguments of a later call win.
        options: options of ``apply_async``; so are further keywords.
        immutable: take no more arguments, neither from a caller nor from the predecessor in a chain.
        subtask_type: a name registered with ``register_type``.

    Raises ``TypeError`` if ``task`` or ``args`` have a wrong type.
    """

    __slots__ = ()

    #: The classes of signatures, by ``subtask_type``, or by the built-in task that runs them.
    TYPES: ClassVar[dict[str, builtins.type[Signature[Any]]]] = REGISTERED

    def __init__(
        self: Signature[Any],
        task: str | TaskDefinition | Mapping[str, Any],
        args: Args = None,
        kwargs: Kwargs = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        subtask_type: str | None = None,
        **more: Any,
    ) -> None:
        if isinstance(task, Mapping):
            check_signature(task, "Signature()")
            super().__init__(copied_fields(task))
            return
        super().__init__(
            task=task if isinstance(task, str) else task.name,
            args=() if args is None else checked_arguments(task, args),
            kwargs={} if kwargs is None else dict(kwargs),
            options={**options, **more} if options else more,
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[builtins.type[T]], builtins.type[T]]:
        """Register a subclass for ``from_dict``, by default under its own name: ``@Signature.register_type()``."""

        def register(subclass: builtins.type[T]) -> builtins.type[T]:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Signature[Any]:
        """Return a copy of ``fields`` as a signature of the right class: ``Signature.from_dict(json.loads(text))``.

        Raises ``KeyError`` for a ``subtask_type`` that is not registered, ``TypeError`` if ``fields`` are no signature.
        """
        check_signature(fields, "from_dict()")
        kind = fields.get("subtask_type")
        return (cls.TYPES[kind] if kind else cls.TYPES.get(fields["task"], Signature))._rebuilt(fields)

    @classmethod
    def _rebuilt(cls, fields: Mapping[str, Any]) -> Signature[Any]:
        made = cls.__new__(cls)
        made.update(copied_fields(fields))
        return made

    # -- fields

    @property
    def task(self) -> str:
        """The name of the task."""
        name: str = self["task"]
        return name

    name = task

    @property
    def args(self) -> Sequence[Any]:
        """The positional arguments."""
        args: Sequence[Any] = self["args"]
        return args

    @args.setter
    def args(self, args: Sequence[Any]) -> None:
        self["args"] = args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        kwargs: dict[str, Any] = self["kwargs"]
        return kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Any]) -> None:
        self["kwargs"] = kwargs

    @property
    def options(self) -> dict[str, Any]:
        """The options of ``apply_async``."""
        options: dict[str, Any] = self["options"]
        return options

    @options.setter
    def options(self, options: dict[str, Any]) -> None:
        self["options"] = options

    @property
    def subtask_type(self) -> str | None:
        """``"chain"``, ``"group"``, ``"chord"`` or another type of canvas, ``None`` for a task."""
        kind: str | None = self.get("subtask_type")
        return kind

    @property
    def immutable(self) -> bool:
        """Whether the signature takes no more arguments."""
        return bool(self.get("immutable"))

    @immutable.setter
    def immutable(self, immutable: bool) -> None:
        self["immutable"] = immutable

    @property
    def id(self) -> str | None:
        """The id of a frozen signature."""
        return self.options.get("task_id")

    @property
    def parent_id(self) -> str | None:
        """The id of the parent task, if an option sets it."""
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        """The id of the root task, if an option sets it."""
        return self.options.get("root_id")

    @property
    def type(self) -> TaskDefinition:
        """The task. Raises ``NotRegistered`` if this process has no such task."""
        return tasks[self.task]

    # -- changing

    def set(self: T, immutable: bool | None = None, **options: Any) -> T:
        """Change options, and return the signature itself: ``add.s(2, 2).set(queue="fast")``."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Set whether the signature takes no more arguments."""
        self["immutable"] = immutable

    def clone(self: T, args: Args = None, kwargs: Kwargs = None, immutable: bool | None = None, **options: Any) -> T:
        """Return a copy with more arguments and options: ``add.s(2).clone((1,), countdown=5)``.

        The parts of a canvas are copied too, the values of arguments are shared. ``immutable`` is for the copy.
        """
        copy: T = self._rebuilt(self)  # type: ignore[assignment]
        if args or kwargs or options:
            copy["args"], copy["kwargs"], copy["options"] = merged(copy, args, kwargs, options)
        if immutable is not None:
            copy.set_immutable(immutable)
        return copy

    partial = clone

    def replace(self: T, args: Args = None, kwargs: Kwargs = None, options: Mapping[str, Any] | None = None) -> T:
        """Return a copy with its arguments or options replaced: ``add.s(2, 2).replace(args=(3, 3))``."""
        copy = self.clone()
        for field, value in (("args", args), ("kwargs", kwargs), ("options", options)):
            if value is not None:
                copy[field] = value
        return copy

    def freeze(self, task_id: str | None = None) -> AsyncResult[R]:
        """Give every task its id before sending, and return the result: ``result = sig.freeze()``.

        Tasks with an id keep it. ``task_id`` is the id of the whole, if it has none yet.
        """
        from taskq.results.serialization import from_frozen

        frozen, result = Freezer().freeze(self, task_id if self.id is None else None)
        self.update(Signature.from_dict(frozen))
        made: Any = result and from_frozen(result)
        return made  # type: ignore[no-any-return]

    # -- callbacks and errbacks

    def link(self, callback: S) -> S:
        """Send ``callback`` with the value after a success, and return ``callback``: ``add.s(2, 2).link(mail.s())``."""
        return self._append("link", callback)

    def link_error(self, errback: S) -> S:
        """Call ``errback`` after a final failure, and return ``errback``: ``sig.link_error(report.s())``.

        A worker runs it once, after the failure is committed: with more than one parameter as ``errback(request, exc,
        traceback)`` (traceback as text, ``None`` if the task did not run), else with the failed task's id.
        """
        return self._append("link_error", errback)

    def on_error(self: T, errback: Mapping[str, Any]) -> T:
        """As ``link_error``, but return the signature itself: ``add.s(2, 2).on_error(report.s()).delay()``."""
        self.link_error(errback)
        return self

    def _append(self, option: str, follower: S) -> S:
        check_signature(follower, option)
        # A new list: another signature may share the old list.
        followers = as_list(self.options.get(option))
        if follower not in followers:
            followers.append(follower)
        self.options[option] = followers
        return follower

    def flatten_links(self) -> list[Signature[Any]]:
        """Return this signature, its callbacks, their callbacks, and so on."""
        found: list[Signature[Any]] = [self]
        for sig in found:
            found += [signature(link) for link in as_list(sig.options.get("link"))]
        return found

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **stamps: Any) -> None:
        """Add headers to every task in the signature: ``sig.stamp(order="17")``; see ``StampingVisitor``.

        Existing stamps stay; with ``append_stamps`` they get the new values too. Raises ``ValueError`` for the name
        of an option.
        """
        from .stamping import stamp

        stamp(self, visitor, append_stamps, stamps)

    def __or__(self, other: Signature[S]) -> chain[S]:  # type: ignore[override]
        """Return a chain of this signature and ``other``. Raises ``ValueError`` if it is nested too deeply."""
        if not isinstance(other, Mapping):
            return NotImplemented
        from .operators import follow

        with limit_depth():
            return follow(self.clone(), part_of("|", other))  # type: ignore[return-value]

    # A dictionary's own operators would merge the keys.
    def __ior__(self, other: Signature[S]) -> chain[S]:  # type: ignore[override]
        return self.__or__(other)

    def __ror__(self, other: object) -> Any:
        return signature(other) | self if isinstance(other, Mapping) else NotImplemented

    # -- calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task in this process, with these arguments added to its own."""
        together, keywords, _ = merged(self, args, kwargs, None)
        return self.type(*together, **keywords)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Send the signature, with these arguments added to its own: ``add.s(2).delay(2)``."""
        return self.apply_async(args, kwargs)

    def apply_async(self, args: Args = None, kwargs: Kwargs = None, **options: Any) -> AsyncResult[R]:
        """Send the signature in the caller's transaction: ``add.s(2).apply_async((2,), countdown=10)``.

        ``args`` come before its own, ``kwargs`` and ``options`` win over its own. See ``Task.apply_async``.
        """
        from .sending import send_signature

        result: AsyncResult[R] = send_signature(self, args, kwargs, options)
        return result

    def apply(self, args: Args = None, kwargs: Kwargs = None, **options: Any) -> EagerResult[R]:
        """Run the signature and its follow-ups in this process, as workers would: ``add.s(2, 2).apply().get()``."""
        from taskq.eager.apply import apply_canvas

        result: EagerResult[R] = apply_canvas(self, args, kwargs, options)
        return result

    async def adelay(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Do ``delay`` from a coroutine."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(self, args: Args = None, kwargs: Kwargs = None, **options: Any) -> AsyncResult[R]:
        """Do ``apply_async`` from a coroutine."""
        call: Callable[..., AsyncResult[R]] = self.apply_async
        return await sync_to_async(call)(args, kwargs, **options)

    async def aapply(self, args: Args = None, kwargs: Kwargs = None, **options: Any) -> EagerResult[R]:
        """Do ``apply`` from a coroutine."""
        call: Callable[..., EagerResult[R]] = self.apply
        return await sync_to_async(call)(args, kwargs, **options)

    def __invert__(self) -> R:
        """Send the signature and wait for its value: ``~add.s(2, 2)``."""
        return self.apply_async().get()

    # -- as an object

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as Python code, with these arguments added to its own; sensitive values are masked."""
        given: masking.Shown = (*args, *self.args), {**self.kwargs, **kwargs}
        positional, named = masking.shown(self.task, *given, partial=not self.immutable) or given
        shown = [repr(arg) for arg in positional]
        shown += [f"{name}={value!r}" for name, value in named.items()]
        return f"{self.task}({', '.join(shown)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __deepcopy__(self: T, memo: object) -> T:
        return self.clone()

    def __reduce__(self) -> tuple[Any, ...]:
        return Signature.from_dict, (dict(self),)


def signature(varies: str | TaskDefinition | Mapping[str, Any], *args: Any, **kwargs: Any) -> Signature[Any]:
    """Return the signature of a task: ``signature("shop.tasks.mail", args=(3,), countdown=10)``.

    For a signature, also as a dictionary from JSON, it returns a copy of the right class.
    """
    if isinstance(varies, Mapping):
        return Signature.from_dict(varies)
    return Signature(varies, *args, **kwargs)


#: The older name of ``signature``.
subtask = signature


def maybe_signature(value: Any) -> Signature[Any] | None:
    """Return ``value`` as a signature: a signature unchanged, a dictionary converted, ``None`` for ``None``."""
    if value is None or isinstance(value, Signature):
        return value
    return Signature.from_dict(value)


def part_of(canvas: str, value: Any) -> Signature[Any]:
    """Return a copy of ``value``, a signature, as a part of a canvas; of a task its call without arguments.

    Raises ``TypeError`` for any other value: often a task was called where ``.s()`` was meant.
    """
    if isinstance(value, Signature):
        return value.clone()
    task = tasks.get(getattr(value, "name", None) or "")
    if task is not None and task is value:
        return Signature(task)
    check_signature(value, canvas)
    return Signature.from_dict(value)


def parts_of(canvas: str, values: Iterable[Any]) -> list[Signature[Any]]:
    """Return copies of ``values`` as the parts of a canvas; ``values`` is consumed once. See ``part_of``."""
    return [part_of(canvas, value) for value in values]
