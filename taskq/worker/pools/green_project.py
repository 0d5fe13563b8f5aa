"""Says whether the tasks of a project can run in greenlets: the library is there, and the database driver lets them.

A driver in C that waits for its server without telling the library stops all greenlets of the child meanwhile.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from django.db import connections

from taskq.calls.registry import tasks
from taskq.worker import log_lines

from .interpreter import Interpreter

#: Drivers that wait by Python's sockets, or by a function that the library replaces.
_COOPERATIVE = {"psycopg", "pymysql", "oracledb"}
#: Drivers that block all greenlets, and what to use.
_BLOCKING = {
    "psycopg2": "psycopg 3",
    "MySQLdb": "PyMySQL, with pymysql.install_as_MySQLdb() in the package of the settings",
    "cx_Oracle": "oracledb",
}


def refuse(kind: str, interpreter: Interpreter | None) -> None:
    """Raise ``ValueError`` if the pool ``kind`` can't run this project's tasks."""
    if find_spec(kind) is None:
        raise ValueError(f"The {kind} pool needs the package {kind}: pip install 'taskq-django[{kind}]'.")
    if interpreter is None:
        raise ValueError(
            f"The {kind} pool starts a Python of its own, which has to import the settings: set DJANGO_SETTINGS_MODULE."
        )
    for alias, driver in _drivers():
        if driver in _BLOCKING:
            raise ValueError(
                f"The {kind} pool can't use the driver {driver} of the database {alias!r}, which would block all "
                f"greenlets while one waits for the database: use {_BLOCKING[driver]}, or --pool threads."
            )


def warn(kind: str) -> None:
    """Say in the log what may be slow."""
    if kind == "eventlet":
        log_lines.eventlet_discouraged()
    for alias, driver in _drivers():
        if driver not in _COOPERATIVE:
            log_lines.driver_blocks(kind, driver, alias)
    if coroutines := sorted(filter(is_coroutine, tasks)):
        log_lines.coroutines_refused(kind, coroutines)


def is_coroutine(name: str) -> bool:
    """Tell whether a task of this process is an ``async def``: an event loop would stop the other greenlets."""
    return inspect.iscoroutinefunction(getattr(tasks.get(name), "run", None))


def _drivers() -> Iterator[tuple[str, str]]:
    """Yield the aliases of the databases, and the name of each one's driver."""
    for connection in connections.all():
        backend: Any = connection
        module = getattr(backend, "Database", None)
        yield connection.alias, str(getattr(module, "__name__", connection.vendor))
