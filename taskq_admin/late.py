"""Packages whose modules are loaded when a page is shown: every command and every worker imports the pages.

Django imports each app's ``admin`` and its template tags wherever it is set up. What stands there imports only the
packages ``queries``, ``views`` and ``charts``, and names a module of theirs where it is used:
``queries.runs.find(pk)``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType


def late_modules(package: str, before: str = "") -> Callable[[str], ModuleType]:
    """Return the ``__getattr__`` of a package that loads its modules on first use.

    ``before`` is a package that these modules need. Threads that show their first pages at once wait for it here. Else
    Python could refuse an import of one of them: if it began with a module of the package, and another thread with the
    package.
    """

    def load(name: str) -> ModuleType:
        module = f"{package}.{name}"
        if before:
            import_module(before)
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None

    return load
