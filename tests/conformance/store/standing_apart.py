"""Large texts that stand apart on SQLite: how many there are, and what is written of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connections

from taskq.models import LargeText

ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def apart(alias: str) -> int:
    """1 where large texts stand apart, else 0."""
    return int(connections[alias].vendor == "sqlite")


def texts(alias: str) -> int:
    """Return how many large texts there are; on other databases the number that is there on SQLite is not known."""
    return LargeText.objects.using(alias).count()


def emptied_log(alias: str) -> Path:
    """Empty and return the log of an SQLite database: it grows by what is written."""
    with connections[alias].cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(f"{connections[alias].settings_dict['NAME']}-wal")


@contextmanager
def migrated_back(alias: str, version: str) -> Iterator[None]:
    """Migrate a database back to a version, as before an older taskq reads it, and forth again."""
    try:
        call_command("migrate", "taskq", version, database=alias, verbosity=0)
        yield
    finally:
        call_command("migrate", "taskq", database=alias, verbosity=0)
