"""``chord``: a group, and a body that gets the values of its members."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from taskq.conf import settings

from .chain import chain
from .group import group
from .signature import Signature, part_of, parts_of

if TYPE_CHECKING:
    from taskq.results.async_result import AsyncResult

__all__ = ["chord"]

R = TypeVar("R")
S = TypeVar("S")


@Signature.register_type()
class chord(Signature[R]):
    """A header of tasks that run in parallel, and a body: ``chord((add.s(i, i) for i in range(10)), xsum.s())``.

    When all tasks of the header have succeeded, the body runs with the list of their values, in the order of the
    header. The result is the body's; its ``parent`` is the header's ``GroupResult``. ``chord(header)(body)`` sets
    the body later.
    """

    __slots__ = ()

    @overload
    def __init__(self: chord[Any], header: Any, body: None = None, **options: Any) -> None: ...
    @overload
    def __init__(self, header: Any, body: Signature[R], **options: Any) -> None: ...
    def __init__(self, header: Any, body: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> None:
        body = None if body is None else part_of("chord()", body)
        fields = {"kwargs": dict(kwargs or {}), "header": _members(header), "body": body}
        super().__init__("celery.chord", (), fields, options, subtask_type="chord")

    @classmethod
    def _rebuilt(cls, fields: Mapping[str, Any]) -> Signature[Any]:
        made = super()._rebuilt(fields)
        header, body = made.kwargs.get("header") or (), made.kwargs.get("body")
        if isinstance(header, Mapping):
            made.kwargs["header"] = Signature.from_dict(header)
        else:
            made.kwargs["header"] = [Signature.from_dict(task) for task in header]
        made.kwargs["body"] = None if body is None else Signature.from_dict(body)
        made.kwargs.setdefault("kwargs", {})
        return made

    @property
    def tasks(self) -> list[Signature[Any]]:
        """The tasks of the header."""
        header: Any = self.kwargs["header"]
        tasks: list[Signature[Any]] = header.tasks if isinstance(header, group) else header
        return tasks

    @property
    def body(self) -> Signature[Any] | None:
        """The signature that runs when the header has succeeded."""
        body: Signature[Any] | None = self.kwargs["body"]
        return body

    @body.setter
    def body(self, body: Signature[Any] | None) -> None:
        self.kwargs["body"] = body

    def then(self, other: Signature[Any]) -> chord[Any]:
        """Return a copy with ``other`` behind the body."""
        from .operators import add_behind

        return add_behind(self.clone(), part_of("then()", other))

    def __call__(self, body: Any = None, **options: Any) -> AsyncResult[Any]:
        """Send the chord; ``body`` replaces its own body."""
        return self.apply_async((), {"body": body} if body is not None else None, **options)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[R]:
        """Send the chord. Every task of the header gets ``args`` and ``kwargs``; the key ``body`` replaces its body.

        The header gets all options, the body all but ``countdown`` and ``eta``.
        """
        if kwargs and "body" in kwargs:
            kwargs = dict(kwargs)
            other = self.clone()
            other.body = part_of("chord()", kwargs.pop("body"))
            return other.apply_async(args, kwargs, **options)
        return super().apply_async(args, kwargs, **options)

    def link(self, callback: S) -> S:
        """Send ``callback`` with the value of the body, and return ``callback``."""
        return self._own_body().link(callback)

    def link_error(self, errback: S) -> S:
        """Call ``errback`` when the body fails, or can't run because a task of the header has failed.

        With ``TASKQ_ALLOW_ERROR_CB_ON_CHORD_HEADER`` also for each failed task of the header.
        """
        if settings.ALLOW_ERROR_CB_ON_CHORD_HEADER:
            header = group(self.tasks)
            header.link_error(errback)
            if isinstance(self.kwargs["header"], group):
                self.kwargs["header"].kwargs["tasks"] = header.tasks
            else:
                self.kwargs["header"] = header.tasks
        return self._own_body().link_error(errback)

    def _own_body(self) -> Signature[Any]:
        """Replace the body by a copy and return the copy: the body may have been set from outside."""
        if self.body is None:
            raise TypeError("This chord has no body yet: chord(header, body).")
        self.body = self.body.clone()
        return self.body

    def __repr__(self) -> str:
        return f"chord({self.tasks!r}, {self.body!r})"


def _members(header: Any) -> list[Signature[Any]] | group[Any]:
    if isinstance(header, group):
        return header.clone()
    if isinstance(header, chain):
        warnings.warn(
            "chord(chain, body) runs the tasks of the chain in parallel, as Celery does. "
            "Write chord([chain], body) to have the chain as one member.",
            RuntimeWarning,
            stacklevel=3,
        )
        return parts_of("chord()", header.tasks)
    if isinstance(header, Mapping):
        sig = part_of("chord()", header)
        return sig if isinstance(sig, group) else [sig]
    return parts_of("chord()", header)
