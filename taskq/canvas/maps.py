"""``map``, ``starmap`` and ``chunks``: many calls of one task, with fewer messages than a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from taskq.calls import masking
from taskq.calls.definition import TaskDefinition
from taskq.workflows.fields import split

from .group import group
from .signature import Signature, maybe_signature

if TYPE_CHECKING:
    from taskq.results.group_result import GroupResult

__all__ = ["chunks", "xmap", "xstarmap"]

R = TypeVar("R")


@Signature.register_type("celery.map")
class xmap(Signature[list[Any]]):
    """One message that calls a task with each item of ``it``, one after the other: ``add_one.map([1, 2, 3])``.

    Its value is the list of values. The first failing call makes it fail.
    """

    __slots__ = ()
    _task_name = "celery.map"

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        fields = {"task": _call(task), "it": list(it)}
        super().__init__(self._task_name, (), fields, options, immutable=True)

    def __repr__(self) -> str:
        return f"[{self.kwargs['task']['task']}(x) for x in {_shown(self)['it']!r}]"


@Signature.register_type("celery.starmap")
class xstarmap(xmap):
    """As ``xmap``, but each item is a list of arguments: ``add.starmap([(1, 2), (3, 4)])``."""

    __slots__ = ()
    _task_name = "celery.starmap"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task']['task']}(*x) for x in {_shown(self)['it']!r}]"


@Signature.register_type("celery.chunks")
class chunks(Signature[list[list[R]]]):
    """A group of starmaps over at most ``n`` items each: ``add.chunks(zip(a, b), 100)``.

    Raises ``ValueError`` for an ``n`` below 1.
    """

    __slots__ = ()

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        if n < 1:
            raise ValueError(f"chunks() needs at least one item in a chunk, not {n!r}.")
        fields = {"task": _call(task), "it": list(it), "n": n}
        super().__init__("celery.chunks", (), fields, options, immutable=True)

    def group(self) -> group[list[R]]:
        """Return the chunks as a group of starmaps."""
        if "tasks" in self.kwargs:  # it is frozen
            return group(self.kwargs["tasks"], **self.options)
        task, it, n = self.kwargs["task"], self.kwargs["it"], self.kwargs["n"]
        return group((xstarmap(task, part) for part in split(it, n)), **self.options)

    def __call__(self, **options: Any) -> GroupResult[list[R]]:
        """Send the chunks."""
        return self.group().apply_async(**options)

    def __repr__(self) -> str:
        if "tasks" in self.kwargs:
            return repr(self.group())
        return f"chunks({self.kwargs['task']['task']}, {_shown(self)['it']!r}, {self.kwargs['n']})"


def _shown(sig: Signature[Any]) -> Mapping[str, Any]:
    """Return the keyword arguments of a map with sensitive values masked."""
    found = masking.shown(sig.task, (), sig.kwargs)
    return sig.kwargs if found is None else found[1]


def _call(task: TaskDefinition | Signature[Any]) -> dict[str, Any]:
    """Return the signature of ``task`` as a plain dictionary, which logs and monitors can show."""
    sig = maybe_signature(task) if isinstance(task, dict) else Signature(task)
    assert sig is not None
    return dict(sig)
