"""Databases of the tests' own, on each vendor, with the migrations applied.

One lasts for the session. The same database serves real processes (through
``DATABASE_URL``) and the test itself (through an alias), so that a test can look
at what a worker wrote. Names hold the process and the xdist worker, so that
runs side by side don't meet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.apps import apps
from django.core.management import call_command
from django.db import connections
from django.db.utils import load_backend

from testproject.databases import configure

from . import services

VENDORS = ("sqlite", "postgresql", "mariadb")


@dataclass(frozen=True, slots=True)
class Database:
    """A database for tests: ``alias`` for the test's own process, ``url`` for the processes that it starts."""

    vendor: str
    alias: str
    url: str

    def clear(self) -> None:
        """Delete all rows of taskq and of the test project's apps, keep the tables, and leave no connection open.

        Tests that may not use a database would find it, and tidy it up.
        """
        for model in apps.get_models():
            if model._meta.app_label in {"taskq", "reports"}:
                model._base_manager.using(self.alias)._raw_delete(self.alias)  # no signals, no cascade: much quicker
        connections[self.alias].close()


@contextmanager
def temporary_database(vendor: str, directory: Path, name: str = "tests") -> Iterator[Database]:
    """Create a database of ``vendor``, apply the migrations, and drop it at the end.

    ``directory`` is for SQLite's file. Django's ``connections`` has the alias
    ``<name>_<vendor>`` for it meanwhile: two of one vendor need two names.
    """
    with ExitStack() as stack:
        url = stack.enter_context(_file(directory) if vendor == "sqlite" else _on_server(vendor))
        alias = stack.enter_context(registered(f"{name}_{vendor}", url))
        call_command("migrate", database=alias, verbosity=0)
        yield Database(vendor, alias, url)


@contextmanager
def registered(alias: str, url: str) -> Iterator[str]:
    """Make ``url`` usable as ``connections[alias]``, in every thread of this process."""
    connections.databases[alias] = _configuration(url)
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.databases[alias]


@contextmanager
def server_cursor(vendor: str) -> Iterator[Any]:
    """Yield an autocommit cursor on the server's own database, for CREATE and DROP.

    It is the driver's, not Django's, which pytest-django allows in some tests only.
    """
    config = _configuration(services.url(vendor))
    config["OPTIONS"] = {**config["OPTIONS"], "connect_timeout": 20}
    wrapper = load_backend(config["ENGINE"]).DatabaseWrapper(config, f"server_{vendor}")
    with closing(wrapper.get_new_connection(wrapper.get_connection_params())) as connection:
        if vendor == "postgresql":
            connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def _configuration(url: str) -> dict[str, Any]:
    # Django completes what its own settings leave out, in the mapping that it is given.
    databases = {"default": {}, "other": configure(url)}
    completed: dict[str, dict[str, Any]] = connections.configure_settings(databases)
    return completed["other"]


@contextmanager
def _file(directory: Path) -> Iterator[str]:
    path = directory / "taskq.sqlite3"
    yield f"sqlite:///{path}"
    for leftover in directory.glob("taskq.sqlite3*"):
        leftover.unlink()


@contextmanager
def _on_server(vendor: str) -> Iterator[str]:
    name = f"taskq_test_{os.getpid()}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    create, drop = _STATEMENTS[vendor]
    with server_cursor(vendor) as cursor:
        cursor.execute(drop.format(name))
        cursor.execute(create.format(name))
    try:
        yield urlunsplit(urlsplit(services.url(vendor))._replace(path=f"/{name}"))
    finally:
        with server_cursor(vendor) as cursor:
            cursor.execute(drop.format(name))


_STATEMENTS = {
    "postgresql": (
        "CREATE DATABASE \"{}\" ENCODING 'UTF8' TEMPLATE template0",
        'DROP DATABASE IF EXISTS "{}" WITH (FORCE)',
    ),
    "mariadb": ("CREATE DATABASE `{}` CHARACTER SET utf8mb4", "DROP DATABASE IF EXISTS `{}`"),
}
