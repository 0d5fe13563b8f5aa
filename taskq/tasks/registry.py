"""The tasks of this process, by name.

``@task`` and ``register`` add to it when a ``tasks.py`` is imported; the worker,
``send_task`` and the admin look names up. It never imports an app by itself:
``autodiscover`` does, once, from ``AppConfig.ready``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

from django.utils.module_loading import autodiscover_modules

from taskq.exceptions import NotRegistered

if TYPE_CHECKING:
    from .task import Task

__all__ = ["Registry", "autodiscover", "duplicates", "name_of", "register", "tasks"]

T = TypeVar("T", bound="Task[..., Any]")


class Registry(dict[str, "Task[..., Any]"]):
    """A dictionary of tasks by name that raises ``NotRegistered`` for a name it does not have."""

    def __init__(self) -> None:
        super().__init__()
        self._origins: dict[str, list[str]] = {}

    def __missing__(self, name: str) -> Task[..., Any]:
        raise NotRegistered(name)

    def add(self, task: Task[..., Any]) -> None:
        """Add ``task``. One that is defined at the same place (a reloaded module) takes the other's place."""
        origins = self._origins.setdefault(task.name, [])
        if task.origin not in origins:
            origins.append(task.origin)
        self[task.name] = task

    def remove(self, name: str) -> None:
        """Forget a task; used by tests."""
        self.pop(name, None)
        self._origins.pop(name, None)

    def duplicates(self) -> dict[str, list[str]]:
        """Return the names that several definitions have, with the import path of each."""
        return {name: list(origins) for name, origins in self._origins.items() if len(origins) > 1}


#: Every task that was defined in this process.
tasks: Registry = Registry()


def duplicates() -> dict[str, list[str]]:
    """Return the names that several tasks have, with the import path of each; for the system check."""
    return tasks.duplicates()


def name_of(module: str, qualname: str) -> str:
    """Return the task name for a definition: its import path.

    A module that is run as a program is named as others would import it.
    """
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name.removesuffix(".__main__") if spec is not None else module
    return f"{module}.{qualname}"


def register(task: T | type[T]) -> T:
    """Register a class-based task and return its instance.

    ``task`` is a subclass of ``Task`` with a ``run`` method, or an instance of one::

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
    """Import ``tasks.py`` of every installed app. An import error in one of them is not hidden."""
    autodiscover_modules("tasks")
