"""The tasks of this process, by name.

``@task`` and ``register`` add to it when a ``tasks.py`` is imported; the worker, ``send_task`` and the
admin look names up. Only ``autodiscover`` imports apps, once, from ``AppConfig.ready``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TypeVar

from django.utils.module_loading import autodiscover_modules

from taskq.exceptions import NotRegistered

from .definition import TaskDefinition

__all__ = ["Registry", "autodiscover", "duplicates", "name_of", "register", "tasks"]

T = TypeVar("T", bound=TaskDefinition)


@dataclass(slots=True, frozen=True)
class _Source:
    """Where a task comes from: its import path, its module with the module's spec, and its function or class."""

    origin: str
    module: object
    spec: object
    made_of: object

    def replaces(self, other: _Source) -> bool:
        """Tell whether this is ``other`` again: the same function, or its module was reloaded and has a new spec.

        In a module that was not reloaded, another function with the name is another task, such as a copied ``def``.
        """
        if self.origin != other.origin:
            return False
        return self.made_of is other.made_of or self.module is not other.module or self.spec is not other.spec


def _source(task: TaskDefinition) -> _Source:
    cls = type(task)
    wrapped = vars(cls).get("__wrapped__")
    # A module outside of sys.modules counts as a new module each time.
    module = sys.modules.get(cls.__module__, object())
    made_of = cls if wrapped is None else getattr(wrapped, "__func__", wrapped)
    return _Source(task.origin, module, getattr(module, "__spec__", None), made_of)


class Registry(dict[str, TaskDefinition]):
    """A dictionary of tasks by name that raises ``NotRegistered`` for a name it does not have."""

    def __init__(self) -> None:
        super().__init__()
        #: The names of tasks with sensitive parameters. While there are none, no arguments are searched for signatures.
        self.guarded: set[str] = set()
        self._sources: dict[str, list[_Source]] = {}

    def __missing__(self, name: str) -> TaskDefinition:
        raise NotRegistered(name)

    def add(self, task: TaskDefinition) -> None:
        """Add ``task``. The task of a reloaded module replaces the old one."""
        new = _source(task)
        others = [old for old in self._sources.get(task.name, ()) if not new.replaces(old)]
        self._sources[task.name] = [*others, new]
        self[task.name] = task
        # No signature that travels as data names a built-in task.
        if task.sensitive and not task.name.startswith("taskq."):
            self.guarded.add(task.name)
        else:
            self.guarded.discard(task.name)

    def remove(self, name: str) -> None:
        """Remove a task; used by tests."""
        self.pop(name, None)
        self.guarded.discard(name)
        self._sources.pop(name, None)

    def duplicates(self) -> dict[str, list[str]]:
        """Return the names with several definitions, with the import path of each definition."""
        return {name: [d.origin for d in found] for name, found in self._sources.items() if len(found) > 1}


#: Every task that was defined in this process.
tasks: Registry = Registry()


def duplicates() -> dict[str, list[str]]:
    """Return the names with several tasks, with the import path of each task; for the system check."""
    return tasks.duplicates()


def name_of(module: str, qualname: str) -> str:
    """Return the task name for a definition: its import path, also for a module that runs as a program."""
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name.removesuffix(".__main__") if spec is not None else module
    return f"{module}.{qualname}"


def register(task: T | type[T]) -> T:
    """Register a class-based task and return its instance.

    ``task`` is a subclass of ``Task`` with a ``run`` method, or an instance of it::

        class Resize(Task):
            def run(self, path, width): ...

        resize = register(Resize)

    Raises ``TypeError`` for a class that is ``abstract`` or has no ``run``.
    """
    instance = task() if isinstance(task, type) else task
    instance.prepare()
    tasks.add(instance)
    return instance


def autodiscover() -> None:
    """Import ``tasks.py`` of every installed app. Import errors in it are raised."""
    autodiscover_modules("tasks")
