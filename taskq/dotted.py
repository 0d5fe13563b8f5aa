"""Classes that a setting names: ``package.module:Class``, or ``package.module.Class``."""

from __future__ import annotations

from importlib import import_module

from django.core.exceptions import ImproperlyConfigured


def load_class(setting: str, path: str) -> type:
    """Return the class that ``setting`` names by ``path``. Raises ``ImproperlyConfigured`` that names the setting."""
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
