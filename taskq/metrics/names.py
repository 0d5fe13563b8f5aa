"""Bounds for the values of labels: each value is a time series, and names in messages may be anything."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from taskq.calls.registry import tasks

#: The label of what has no label of its own.
OTHER = "(other)"
#: The most names with a label of their own that no task here has.
MOST_UNKNOWN = 20


@dataclass(slots=True)
class TaskNames:
    """Labels of task names: each registered task has its own, and the first ``MOST_UNKNOWN`` other names have.

    The other names that come later share ``OTHER``, for as long as this object lives.
    """

    known: Container[str] = field(default_factory=lambda: tasks)
    _unknown: set[str] = field(default_factory=set)

    def label(self, name: str) -> str:
        """Return the label of the task ``name``."""
        if name in self.known or name in self._unknown:
            return name
        if not name or len(self._unknown) >= MOST_UNKNOWN:
            return OTHER
        self._unknown.add(name)
        return name
