"""Checks of the databases that hold the rows and the messages."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from taskq import send_task
from taskq.checks import databases
from taskq.engines import configuration
from tests.unit.checks.asking import SQLITE_OPTIONS, Connections, found, sqlite_alias


def test_E010_unknown_alias(connections: Connections) -> None:
    connections["default"] = sqlite_alias()
    assert found(databases.check_aliases, {"DATABASE": "queue"}) == ["E010", "E010"]  # the broker's follows
    assert found(databases.check_aliases, {"BROKER_URL": "django://queue"}) == ["E010", "W005"]
    assert found(databases.check_aliases) == []


def test_W005_broker_and_rows_in_two_databases(connections: Connections) -> None:
    connections.update(default=sqlite_alias(), queue=sqlite_alias())
    assert found(databases.check_aliases, {"BROKER_URL": "django://queue"}) == ["W005"]
    assert found(databases.check_aliases, {"BROKER_URL": "django://queue", "DATABASE": "queue"}) == []
    assert found(databases.check_aliases, {"BROKER_URL": "redis://localhost"}) == []


@override_settings(TASKQ_BROKER_URL="django://queue")
def test_W005_sending_to_a_broker_in_another_database_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"TASKQ_BROKER_URL .*'queue'.*TASKQ_DATABASE is 'default'"):
        send_task("any")


def test_E011_unsupported_database(connections: Connections) -> None:
    connections["default"] = SimpleNamespace(vendor="oracle", settings_dict={})
    assert found(databases.check_engines) == ["E011"]


def test_E012_old_sqlite(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    connections["default"] = sqlite_alias(**SQLITE_OPTIONS)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    assert found(databases.check_engines) == ["E012"]
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 35, 0))
    assert found(databases.check_engines) == []


@pytest.mark.parametrize("is_psycopg3", [True, False])
def test_E013_psycopg2(is_psycopg3: bool, connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    psycopg_any = pytest.importorskip("django.db.backends.postgresql.psycopg_any")
    connections["default"] = SimpleNamespace(vendor="postgresql", settings_dict={})
    monkeypatch.setattr(psycopg_any, "is_psycopg3", is_psycopg3)
    assert found(databases.check_engines) == ([] if is_psycopg3 else ["E013"])


@pytest.mark.parametrize(
    ("is_mariadb", "version", "expected"),
    [(True, (10, 5, 9), ["E014"]), (True, (10, 6, 0), []), (True, (11, 4, 2), []), (False, (8, 0, 36), ["E014"])],
)
def test_E014_old_mariadb(
    is_mariadb: bool,
    version: tuple[int, ...],
    expected: list[str],
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections["default"] = SimpleNamespace(vendor="mysql", mysql_is_mariadb=is_mariadb, mysql_version=version)
    monkeypatch.setattr(databases, "for_alias", lambda alias: SimpleNamespace(tables_without_transactions=list))
    assert found(databases.check_servers, databases=["default"]) == expected


def test_E018_tables_without_transactions(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    connections["default"] = SimpleNamespace(vendor="mysql", mysql_is_mariadb=True, mysql_version=(11, 4, 2))
    engine = SimpleNamespace(tables_without_transactions=lambda: ["taskq_lease"])
    monkeypatch.setattr(databases, "for_alias", lambda alias: engine)
    assert found(databases.check_servers, databases=["default"]) == ["E018"]


def test_E014_asks_only_databases_that_it_was_given(connections: Connections) -> None:
    connections["default"] = SimpleNamespace(vendor="mysql", settings_dict={})  # asking it for more would fail
    assert found(databases.check_servers, databases=["other"]) == []
    assert found(databases.check_servers, databases=None) == []
    assert found(databases.check_engines) == []


@pytest.mark.parametrize(
    ("vendor", "configured", "words"),
    [
        ("postgresql", {"AUTOCOMMIT": False}, "AUTOCOMMIT"),
        ("sqlite", {"OPTIONS": {"autocommit": False}}, "autocommit in OPTIONS"),
        ("sqlite", {"OPTIONS": {"autocommit": True}}, ""),
        ("sqlite", {"OPTIONS": {"autocommit": -1}}, ""),
        ("sqlite", {"OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; pragma query_only = ON"}}, "query_only"),
        ("sqlite", {"OPTIONS": {"init_command": "PRAGMA query_only=0; PRAGMA locking_mode=NORMAL"}}, ""),
        ("sqlite", {"OPTIONS": {"init_command": "PRAGMA locking_mode=EXCLUSIVE"}}, "locking_mode"),
        ("sqlite", {"NAME": "file:/tmp/a.db?mode=ro"}, "reading only"),
        ("sqlite", {"NAME": "file:/tmp/a.db?immutable=1"}, "reading only"),
        ("sqlite", {"NAME": "file:/tmp/a.db?mode=rw"}, ""),
        ("postgresql", {"OPTIONS": {"options": "-c default_transaction_read_only=on"}}, "read_only"),
        ("postgresql", {"OPTIONS": {"options": "-c default_transaction_read_only=off"}}, ""),
        ("postgresql", {"OPTIONS": {"options": "-c statement_timeout=5000", "pool": True}}, ""),
        ("postgresql", {"OPTIONS": {"target_session_attrs": "standby"}}, "target_session_attrs"),
        ("postgresql", {"OPTIONS": {"target_session_attrs": "read-write"}}, ""),
        ("mysql", {"OPTIONS": {"init_command": "SET SESSION TRANSACTION READ ONLY"}}, "read-only"),
        ("mysql", {"OPTIONS": {"init_command": "SET sql_mode='STRICT_TRANS_TABLES'"}}, ""),
        ("mysql", {"OPTIONS": {"isolation_level": "read uncommitted"}}, "never committed"),
        ("mysql", {"OPTIONS": {"isolation_level": "serializable"}}, ""),
    ],
    ids=str,
)
def test_E017_database_that_commits_or_writes_nothing(vendor: str, configured: dict[str, Any], words: str) -> None:
    connection: Any = SimpleNamespace(vendor=vendor, settings_dict=configured)
    assert [words in text for text in configuration.problems(connection)] == ([True] if words else [])


def test_E017_is_reported_for_the_database_of_taskq(connections: Connections) -> None:
    connections["default"] = sqlite_alias(**SQLITE_OPTIONS | {"autocommit": False})
    assert found(databases.check_engines) == ["E017"]


def test_database_of_the_broker_is_checked_too(connections: Connections) -> None:
    connections.update(default=sqlite_alias(**SQLITE_OPTIONS), queue=SimpleNamespace(vendor="oracle", settings_dict={}))
    assert found(databases.check_engines, {"BROKER_URL": "django://queue"}) == ["E011"]


def test_W011_schema_that_is_open_to_every_role(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SimpleNamespace(open_schemas=lambda: ["public"])
    monkeypatch.setattr(databases, "for_alias", lambda alias: engine)
    connections["default"] = SimpleNamespace(vendor="postgresql")
    assert found(databases.check_schemas, databases=["default"]) == ["W011"]
    assert found(databases.check_schemas, databases=None) == []
    connections["default"] = SimpleNamespace(vendor="sqlite")
    assert found(databases.check_schemas, databases=["default"]) == []
