"""The databases under the adapters: made, emptied and counted in from outside, with no Django.

The bench's interpreter imports this; it has psycopg and sqlite3, and for MariaDB the
server's own client is asked. None of it is on the clock, except that ``count`` is
called while results are waited for.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from typing import Protocol

from adapters.common import WORK, pg, pg_create

NAME = "bench_taskq"
TABLES = ("message", "scheduledmessage", "taskrun", "attempt", "worker", "lease")


class Database(Protocol):
    """``url`` is for Django; ``environment`` is what the project's settings read besides it."""

    url: str
    environment: dict[str, str]

    def create(self) -> None:
        """Make the database if it is not there."""

    def empty(self) -> None:
        """Delete all rows of taskq."""

    def count(self, rows: str) -> int:
        """Count ``rows``, which is a table with a condition if need be."""


class Postgresql:
    """On the server that the peers use, with its durable commits."""

    url = f"postgres://postgres@127.0.0.1:5432/{NAME}"
    environment: dict[str, str] = {}

    def create(self) -> None:
        pg_create(NAME)

    def empty(self) -> None:
        pg(NAME).execute("truncate " + ", ".join(f"taskq_{t}" for t in TABLES))

    def count(self, rows: str) -> int:
        return pg(NAME).execute(f"select count(*) from {rows}").fetchone()[0]


class Sqlite:
    """A file beside huey's, with the journal settings that huey has: WAL, and SQLite's default, a sync each commit."""

    path = os.path.join(WORK, "taskq.db")
    url = f"sqlite:///{path}"
    environment = {"TASKQ_BENCH_SYNCHRONOUS": "FULL"}

    def create(self) -> None:
        os.makedirs(WORK, exist_ok=True)

    def empty(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=20, isolation_level=None)) as connection:
            for table in TABLES:
                connection.execute(f"delete from taskq_{table}")
            connection.execute("vacuum")

    def count(self, rows: str) -> int:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection:
            return connection.execute(f"select count(*) from {rows}").fetchone()[0]


class Mariadb:
    """Reached as root over loopback, without a password."""

    url = f"mysql://root@127.0.0.1:3306/{NAME}"
    environment: dict[str, str] = {}

    def create(self) -> None:
        self._run(f"create database if not exists {NAME} character set utf8mb4", database="")

    def empty(self) -> None:
        self._run("; ".join(f"truncate taskq_{t}" for t in TABLES))

    def count(self, rows: str) -> int:
        return int(self._run(f"select count(*) from {rows}"))

    @staticmethod
    def _run(sql: str, database: str = NAME) -> str:
        argv = ["mariadb", "-h127.0.0.1", "-uroot", "-N", "-B", "-e", sql, database]
        return subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
