"""The differences between databases: one module each, behind one contract.

``for_alias`` is how the store gets the engine of a connection alias. The only
SQL written by hand in taskq is in this package.
"""

from __future__ import annotations

from importlib import import_module

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .base import Engine

_MODULES = {"postgresql": "postgresql", "sqlite": "sqlite", "mysql": "mariadb"}
_engines: dict[tuple[str, str], Engine] = {}


def for_alias(alias: str) -> Engine:
    """Return the engine for the database ``alias``.

    Raises ``ImproperlyConfigured`` for a database that taskq can't use.
    """
    vendor = connections[alias].vendor
    engine = _engines.get((alias, vendor))
    if engine is None:
        module = _MODULES.get(vendor)
        if module is None:
            raise ImproperlyConfigured(
                f"TASKQ_DATABASE: taskq runs on PostgreSQL, SQLite and MariaDB; '{alias}' is {vendor}."
            )
        engine = import_module(f"{__name__}.{module}").engine_class(alias)
        _engines[alias, vendor] = engine
    return engine


__all__ = ["Engine", "for_alias"]
