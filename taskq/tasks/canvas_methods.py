"""The canvas methods of ``Task``: its signatures, and ``replace`` and ``add_to_chord`` while it runs.

Nothing is sent here: the run's context keeps the plans, and the transaction that settles the run sends them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from taskq.calls.context import Context
from taskq.calls.options import SendOptions
from taskq.canvas.maps import chunks as Chunks
from taskq.canvas.maps import xmap, xstarmap
from taskq.canvas.signature import Signature, signature
from taskq.canvas.stamping import stamped
from taskq.exceptions import Ignore
from taskq.results.serialization import from_frozen
from taskq.sending.transactions import open_transaction
from taskq.workflows.plan import plan_added, plan_replacement

if TYPE_CHECKING:
    from typing import Unpack

    from taskq.results.async_result import AsyncResult

__all__ = ["CanvasMethods"]

R = TypeVar("R")
R2 = TypeVar("R2")


class CanvasMethods(Generic[R]):
    """The part of ``Task`` that makes and takes signatures."""

    name: str

    if TYPE_CHECKING:

        @property
        def request(self) -> Context:
            """See ``Task``."""

    # -- as a value

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Return the signature of a call with these arguments; later arguments may be added: ``add.s(2)``."""
        return Signature(self.name, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Return an immutable signature, which takes no arguments from callers or predecessors: ``add.si(2, 2)``."""
        return Signature(self.name, args, kwargs, immutable=True)

    def signature(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **options: Unpack[SendOptions],
    ) -> Signature[R]:
        """Return the signature of a call with arguments and options: ``add.signature((2, 2), countdown=10)``."""
        return Signature(self.name, args, kwargs, dict(options), immutable=immutable)

    #: The older name of ``signature``.
    subtask = signature

    def map(self, it: Iterable[Any]) -> Signature[list[R]]:
        """Return the signature of a task that calls this task with each item in turn: ``add_one.map([1, 2, 3])``."""
        return xmap(self, it)

    def starmap(self, it: Iterable[Sequence[Any]]) -> Signature[list[R]]:
        """As ``map``, but each item is a list of arguments: ``add.starmap([(1, 2), (3, 4)])``."""
        return xstarmap(self, it)

    def chunks(self, it: Iterable[Sequence[Any]], n: int) -> Chunks[R]:
        """Return a group of starmaps over ``n`` items each: ``add.chunks(zip(a, b), 100)``."""
        return Chunks(self, it, n)

    # -- while it runs

    def replace(self, sig: Signature[Any]) -> NoReturn:
        """Replace this task by ``sig``: ``raise self.replace(add.s(2, 2) | mul.s(3))``.

        The replacement ends under this task's id, with its value (for a group a list); callbacks, the rest of the
        chain and the chord wait for it. Code after the call does not run.

        Raises:
            Ignore: always, in a worker; the worker sends ``sig`` when the task has ended.
            ImproperlyConfigured: an empty chain, or a member of another chord.
            RuntimeError: the function was called directly.
        """
        request = self.request
        if request.called_directly:
            raise RuntimeError(f"replace() works where a worker runs {self.name}, not where its function is called.")
        self.on_replace(signature(sig))
        raise RuntimeError(f"{type(self).__name__}.on_replace() has to end with super().on_replace(sig).")

    def on_replace(self, sig: Signature[Any]) -> NoReturn:
        """Handle ``replace(sig)``; ``sig`` is a copy. An override ends with ``return super().on_replace(sig)``.

        Example::

            class StampedTask(Task):
                def on_replace(self, sig):
                    sig.stamp(replaced=self.name)
                    return super().on_replace(sig)
        """
        request = self.request
        request.replacement = plan_replacement(sig, request, partial(stamped, request=request))
        raise Ignore("Replaced by new task")

    def add_to_chord(self, sig: Signature[R2]) -> AsyncResult[R2]:
        """Add ``sig`` as a member of this task's chord, and return its result: ``self.add_to_chord(resize.s(n))``.

        It is sent when this task has succeeded; its value comes after the values of the other members.

        Raises:
            ValueError: this task is in no chord, or it has added the frozen ``sig`` before. If another task has sent
                ``sig``, this task becomes a ``FAILURE`` with that error when it ends.
        """
        plan = plan_added(sig, self.request, partial(stamped, request=self.request))
        assert plan.result is not None
        if any(plan.result.id == added.result.id for added in self.request.added):
            raise ValueError(
                f"add_to_chord(): the frozen signature with the id {plan.result.id} was added before, "
                "and one id is one task."
            )
        self.request.remember(self.request.added, [plan], open_transaction())
        return cast("AsyncResult[R2]", from_frozen(plan.result))

    def signature_from_request(
        self,
        request: Context | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> Signature[R]:
        """Return the signature of the current run, with other arguments and options as given."""
        request = request or self.request
        return Signature(
            self.name,
            request.args if args is None else args,
            request.kwargs if kwargs is None else kwargs,
            {**_options_of_run(request), **options},
        )


#: Options of the current run that a new call of the task takes over.
_RUN_OPTIONS = ("task_id", "root_id", "parent_id", "group_id", "group_index", "shadow", "expires", "time_limit")
_MORE_RUN_OPTIONS = ("soft_time_limit", "headers", "retries", "reply_to", "replaced_task_nesting", "priority")


def _options_of_run(request: Context) -> dict[str, Any]:
    """Return the options with which the current run was sent."""
    found: dict[str, Any] = {name: request.get(name) for name in (*_RUN_OPTIONS, *_MORE_RUN_OPTIONS)}
    delivery = request.delivery_info or {}
    found |= {
        "task_id": request.id,
        "link": request.callbacks,
        "link_error": request.errbacks,
        "chain": request.chain,
        "chord": request.chord,
        "stamped_headers": request.stamped_headers,
        "stamps": request.stamps,
        "priority": delivery.get("priority"),
        "exchange": delivery.get("exchange"),
        "routing_key": delivery.get("routing_key") if delivery.get("exchange") else None,
        "queue": None if delivery.get("exchange") else delivery.get("routing_key"),
    }
    return {name: value for name, value in found.items() if value}
