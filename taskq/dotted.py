"""Names by their text: the class that a setting names, and the names that a package loads on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from django.core.exceptions import ImproperlyConfigured


def load_class(setting: str, path: str) -> type:
    """Return the class that ``setting`` names by ``path``: ``package.module:Class``, or ``package.module.Class``.

    Raises ``ImproperlyConfigured`` that names the setting.
    """
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not (module and name):
        raise ImproperlyConfigured(f"{setting} is {path!r}, and not of the form 'package.module:Class'.")
    try:
        found = getattr(import_module(module), name)
    except ImportError as error:
        raise ImproperlyConfigured(f"{setting} names {path!r}, whose module can't be imported: {error}") from error
    except AttributeError:
        raise ImproperlyConfigured(f"{setting} names {path!r}, but {module} has no {name}.") from None
    if not isinstance(found, type):
        raise ImproperlyConfigured(f"{setting} names {path!r}, which is no class but {found!r:.100}.")
    return found


def late_names(package: str, where: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package that loads its public names on first use.

    ``where`` has the module of each name.
    """

    def load(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(where[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *where})

    return load, names
