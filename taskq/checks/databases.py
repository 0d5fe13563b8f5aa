"""Checks of the databases that hold rows and messages."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.checks import CheckMessage, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

from taskq.conf import database_broker_alias, settings, two_databases
from taskq.engines import configuration, for_alias

from . import ids
from .values import TAG, reads

_OLDEST_SQLITE = (3, 35, 0)
_OLDEST_MARIADB = (10, 6)
_SHORTEST_TIMEOUT = 20.0
#: The position of the write version in an SQLite file, and its value for WAL (https://sqlite.org/fileformat.html, 1.3).
_VERSION_OFFSET, _WAL_VERSION = 18, 2


def _aliases() -> list[str]:
    """Return the aliases that taskq uses and that are in ``DATABASES``."""
    wanted = {settings.DATABASE, database_broker_alias() or settings.DATABASE}
    return sorted(alias for alias in wanted if alias in connections.settings)


@register(TAG)
@reads("DATABASE", "BROKER_URL")
def check_aliases(**kwargs: Any) -> Iterator[CheckMessage]:
    """E010, W005: the databases of rows and messages exist, and are the same."""
    broker = database_broker_alias()
    for setting, alias in (("TASKQ_DATABASE", settings.DATABASE), ("TASKQ_BROKER_URL", broker)):
        if alias is not None and alias not in connections.settings:
            yield ids.UNKNOWN_DATABASE(f"{setting} names the database {alias!r}, which is not in DATABASES.")
    if broker is not None and broker != settings.DATABASE:
        yield ids.TWO_DATABASES(two_databases(broker))


@register(TAG)
@reads("DATABASE", "BROKER_URL")
def check_engines(**kwargs: Any) -> Iterator[CheckMessage]:
    """E011, E012, E013, E017, W002 to W004: each database is supported and configured for taskq."""
    for alias in _aliases():
        vendor = connections[alias].vendor
        for problem in configuration.problems(connections[alias]):
            yield ids.UNUSABLE_DATABASE(f"The database {alias!r}: {problem}")
        if vendor == "sqlite":
            yield from _check_sqlite(alias)
        elif vendor == "postgresql":
            yield from _check_psycopg(alias)
        elif vendor != "mysql":
            yield ids.UNSUPPORTED_DATABASE(f"The database {alias!r} is {vendor}.")


def _check_psycopg(alias: str) -> Iterator[CheckMessage]:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if not is_psycopg3:
        yield ids.PSYCOPG2(f"Django uses psycopg2 for the database {alias!r}.")


def _check_sqlite(alias: str) -> Iterator[CheckMessage]:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        yield ids.OLD_SQLITE(f"The database {alias!r} needs SQLite 3.35, and this is {sqlite3.sqlite_version}.")
    config = connections[alias].settings_dict
    options = config.get("OPTIONS") or {}
    if not _is_wal(config["NAME"], str(options.get("init_command") or "")):
        yield ids.NO_WAL(f"The database {alias!r} is not in WAL mode.")
    if str(options.get("transaction_mode") or "").upper() not in {"IMMEDIATE", "EXCLUSIVE"}:
        yield ids.NOT_IMMEDIATE(f"Transactions on the database {alias!r} are not immediate.")
    if (timeout := float(options.get("timeout", 5.0))) < _SHORTEST_TIMEOUT:
        yield ids.SHORT_TIMEOUT(f"Connections to the database {alias!r} wait for {timeout:g} s.")


def _is_wal(name: str | Path, init_command: str) -> bool:
    """Return whether a database is or will be in WAL mode, or is in memory; the file's header shows its mode."""
    mode = re.search(r"journal_mode\s*=\s*['\"]?(\w+)", init_command, re.IGNORECASE)
    if mode:
        return mode[1].upper() == "WAL"
    text = str(name)
    if text in {"", ":memory:"} or "mode=memory" in text:
        return True
    path = Path(unquote(urlsplit(text).path) if text.startswith("file:") else text)
    try:
        with path.open("rb") as file:
            return file.read(_VERSION_OFFSET + 1)[_VERSION_OFFSET:] == bytes([_WAL_VERSION])
    except OSError:
        return False


@register(Tags.database)
@reads("DATABASE", "BROKER_URL")
def check_servers(databases: Sequence[str] | None = None, **kwargs: Any) -> Iterator[CheckMessage]:
    """E014, E018: a MariaDB server is new enough, its tables transactional; only for aliases in ``databases``."""
    for alias in _aliases():
        connection: Any = connections[alias]
        if alias not in (databases or ()) or connection.vendor != "mysql":
            continue
        if not connection.mysql_is_mariadb:
            yield ids.OLD_MARIADB(f"The database {alias!r} is MySQL.")
        elif connection.mysql_version < _OLDEST_MARIADB:
            version = ".".join(map(str, connection.mysql_version))
            yield ids.OLD_MARIADB(f"The database {alias!r} is MariaDB {version}.")
        elif tables := for_alias(alias).tables_without_transactions():
            yield ids.NOT_INNODB(f"The database {alias!r} has no transactions on {', '.join(tables)}.")


@register(Tags.database)
@reads("DATABASE", "BROKER_URL")
def check_schemas(databases: Sequence[str] | None = None, **kwargs: Any) -> Iterator[CheckMessage]:
    """W011: only some roles can create functions where PostgreSQL finds them; only for aliases in ``databases``."""
    for alias in _aliases():
        if alias in (databases or ()) and connections[alias].vendor == "postgresql":
            for schema in for_alias(alias).open_schemas():
                yield ids.OPEN_SCHEMA(f"Every role may create functions in the schema {schema!r} of {alias!r}.")


@register(Tags.database)
@reads("DATABASE", "BROKER_URL", "ROUTES", "QUEUES")
def check_readers(databases: Sequence[str] | None = None, **kwargs: Any) -> Iterator[CheckMessage]:
    """W010: living workers take from the queues; only if the broker's alias is in ``databases``."""
    from taskq.calls import destinations
    from taskq.store import readers

    alias = database_broker_alias()
    if alias is None or alias not in (databases or ()) or alias not in connections.settings:
        return
    try:
        named = _undeclared()
        read = readers.read_queues(alias)
        waiting = readers.waiting_queues(alias) - read
    except (ImproperlyConfigured, ImportError, TypeError, ValueError, DatabaseError):
        # Other checks report settings that can't be read; `migrate` checks before there are tables.
        return
    # Without any worker there would be a warning for each queue of a project that just isn't running.
    unread = {queue: f"which {source} names" for queue, source in named.items() if read and queue not in read}
    unread |= dict.fromkeys(waiting, "in which messages wait")
    for queue, why in sorted(unread.items()):
        near = destinations.nearest(queue, read)
        hint = f"{ids.UNREAD_QUEUE.hint} Workers take from {near!r}." if near else None
        yield ids.UNREAD_QUEUE(f"No living worker takes from the queue {queue!r}, {why}.", hint)


def _undeclared() -> dict[str, str]:
    """Return the queues that routes and tasks name and that are not declared, each with what names it."""
    from taskq.calls import destinations
    from taskq.messages import routing

    declared = routing.declared()
    return {queue: source for source, queue in destinations.named_queues() if queue not in declared}
