"""What every kind of result has in common: how it is written down as a tuple.

``AsyncResult`` is one, and the results of workflows are. A task may return one:
it is stored as its tuple. Tuples are Celery's: ``((id, parent), children)``.
"""

from __future__ import annotations

from typing import Any


class ResultBase:
    """A task's or a workflow's future result."""

    __slots__ = ()

    def as_tuple(self) -> tuple[Any, Any]:
        """Return the result as plain data, from which a reader can build it again."""
        raise NotImplementedError

    def __json__(self) -> tuple[Any, Any]:
        """Tell kombu's JSON how to write a result that lies inside a task's return value."""
        return self.as_tuple()
