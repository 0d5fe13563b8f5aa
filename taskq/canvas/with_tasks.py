"""``WithTasks``: the common part of ``chain`` and ``group``, whose parts are a list of signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from .signature import Signature

__all__ = ["WithTasks"]

R = TypeVar("R")


class WithTasks(Signature[R]):
    """A canvas with its parts in ``kwargs["tasks"]``."""

    __slots__ = ()

    @classmethod
    def _rebuilt(cls, fields: Mapping[str, Any]) -> Signature[Any]:
        made = super()._rebuilt(fields)
        made.kwargs["tasks"] = [Signature.from_dict(task) for task in made.kwargs.get("tasks") or ()]
        return made

    @property
    def tasks(self) -> list[Signature[Any]]:
        """The steps of a chain in the order of running, or the members of a group."""
        tasks: list[Signature[Any]] = self.kwargs["tasks"]
        return tasks
