"""Fixtures that all tests share: databases on each vendor, and real processes.

``django_db`` tests use Django's test database, a file on SQLite unless
``DATABASE_URL`` says otherwise. Tests that ask for ``database``, ``alias`` or
``processes`` run once on each vendor and commit for real; to run on some only::

    @pytest.mark.parametrize("database", ["postgresql"], indirect=True)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker

from tests.support import services
from tests.support.databases import VENDORS, Database, temporary_database
from tests.support.processes import Processes

# No test is about time: a busy machine is no fault of the code.
hypothesis_settings.register_profile("taskq", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("taskq")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Close connections that the test before has left open: this one may not be allowed to use them, nor to tidy up."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give Django's test database a file of its own: threads can't share one in memory, nor can two runs one file."""
    default = settings.DATABASES["default"]
    if default["ENGINE"].endswith("sqlite3"):
        default.setdefault("TEST", {})["NAME"] = str(tmp_path_factory.mktemp("django") / "test.sqlite3")


@pytest.fixture(scope="session")
def full_run() -> bool:
    """Tell whether fault tests are to run at their full length (``make test-faults``)."""
    return os.environ.get("TASKQ_TEST_FULL") == "1"


@pytest.fixture(scope="session", params=VENDORS)
def database(
    request: pytest.FixtureRequest,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Database]:
    """Create a database of each vendor with all migrations applied; it lasts for the session.

    It comes after ``django_db_setup``, which would otherwise make a test
    database for our alias too.
    """
    services.require_or_skip(request.param)
    made = temporary_database(request.param, tmp_path_factory.mktemp(request.param))
    with django_db_blocker.unblock():
        database = made.__enter__()
    yield database
    with django_db_blocker.unblock():
        made.__exit__(None, None, None)


@pytest.fixture
def clean_database(database: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """Let the test use the database, as taskq's own and as the broker, and empty it afterwards."""
    with (
        django_db_blocker.unblock(),
        override_settings(TASKQ_DATABASE=database.alias, TASKQ_BROKER_URL=f"django://{database.alias}"),
    ):
        yield database
        database.clear()


@pytest.fixture
def alias(clean_database: Database) -> str:
    """Return the alias of a clean database, which is ``TASKQ_DATABASE`` and the broker in this process."""
    return clean_database.alias


@pytest.fixture
def database_url(clean_database: Database) -> str:
    """Return the ``DATABASE_URL`` of a clean database, for processes; ``alias`` is the same database."""
    return clean_database.url


@pytest.fixture
def processes(database_url: str, tmp_path: Path) -> Iterator[Processes]:
    """Start management commands on the clean database; they are ended before it is emptied."""
    started = Processes(tmp_path, {"DATABASE_URL": database_url, "TASKQ_BROKER_URL": "django://"})
    yield started
    started.end()
