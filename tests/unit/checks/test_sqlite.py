"""Warnings of settings of SQLite under which processes hinder each other."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskq.checks import databases
from tests.unit.checks.asking import SQLITE_OPTIONS, Connections, found, sqlite_alias


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some database.sqlite3"


def make_file(path: Path, journal_mode: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={journal_mode}")
    connection.execute("CREATE TABLE a (b)")
    connection.close()


def test_W002_journal_mode_of_the_init_command(file: Path, connections: Connections) -> None:
    connections["default"] = sqlite_alias(file, **SQLITE_OPTIONS)
    assert found(databases.check_engines) == []
    make_file(file, "wal")
    connections["default"] = sqlite_alias(file, **SQLITE_OPTIONS | {"init_command": "PRAGMA journal_mode = delete;"})
    assert found(databases.check_engines) == ["W002"]


@pytest.mark.parametrize(("mode", "expected"), [("wal", []), ("delete", ["W002"])])
@pytest.mark.parametrize(
    "as_name", [Path, str, lambda path: f"{path.as_uri()}?cache=private"], ids=["path", "str", "uri"]
)
def test_W002_journal_mode_of_the_file(
    mode: str, expected: list[str], as_name: Callable[[Path], object], file: Path, connections: Connections
) -> None:
    make_file(file, mode)
    connections["default"] = sqlite_alias(as_name(file), transaction_mode="IMMEDIATE", timeout=30)
    assert found(databases.check_engines) == expected


def test_W002_sqlite_file_that_does_not_exist_yet(file: Path, connections: Connections) -> None:
    connections["default"] = sqlite_alias(file, transaction_mode="IMMEDIATE", timeout=30)
    assert found(databases.check_engines) == ["W002"]


@pytest.mark.parametrize("name", [":memory:", "file:memorydb_default?mode=memory&cache=shared"])
def test_W002_quiet_for_databases_in_memory(name: str, connections: Connections) -> None:
    connections["default"] = sqlite_alias(name, transaction_mode="IMMEDIATE", timeout=30)
    assert found(databases.check_engines) == []


@pytest.mark.parametrize(
    ("mode", "expected"), [(None, ["W003"]), ("DEFERRED", ["W003"]), ("immediate", []), ("EXCLUSIVE", [])]
)
def test_W003_transaction_mode(mode: str | None, expected: list[str], connections: Connections) -> None:
    connections["default"] = sqlite_alias(timeout=30, transaction_mode=mode)
    assert found(databases.check_engines) == expected


@pytest.mark.parametrize(("options", "expected"), [({}, ["W004"]), ({"timeout": 5}, ["W004"]), ({"timeout": 20}, [])])
def test_W004_timeout(options: dict[str, Any], expected: list[str], connections: Connections) -> None:
    connections["default"] = sqlite_alias(transaction_mode="IMMEDIATE", **options)
    assert found(databases.check_engines) == expected
