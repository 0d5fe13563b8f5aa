"""Fixtures that all tests share: databases on each vendor, and real processes.

``django_db`` tests use Django's test database, a file on SQLite unless
``DATABASE_URL`` says otherwise. Tests that ask for ``database``, ``alias`` or
``processes`` run once on each vendor and commit for real; to run on some only::

    @pytest.mark.parametrize("database", ["postgresql"], indirect=True)

Nothing is left to luck: chance is seeded from the name of the test, and hypothesis
draws the same examples each time. ``make explore`` draws others.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.internal.conjecture import providers
from pytest_django import DjangoDbBlocker

from taskq import clock
from tests.support import seeds, services
from tests.support.databases import VENDORS, Database, temporary_database
from tests.support.length import FULL
from tests.support.processes import Processes

# The processes that tests start sign with the same key.
os.environ["SECRET_KEY"] = settings.SECRET_KEY

hypothesis_settings.register_profile(
    "taskq",
    max_examples=2000 if FULL else 100,
    stateful_step_count=60 if FULL else 30,
    # The same examples each time. What an earlier run has found is not tried first: another machine has not found it.
    derandomize=True,
    database=None,
    print_blob=True,
    # No test is about time: a busy machine is no fault of the code.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
hypothesis_settings.register_profile("explore", hypothesis_settings.get_profile("taskq"), derandomize=False)

# Now and then hypothesis draws a constant that it has read in a module of ours, if that is loaded by then: which ones
# are depends on the tests that came before, and on what else was collected. None, then, is what is always the same.
providers._get_local_constants = lambda: providers._local_constants


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let hypothesis draw the same as ever, or what a seed says: ``TASKQ_TEST_SEED`` is its seed too."""
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = seeds.asked_for()
    # Derandomized, it would not heed a seed.
    hypothesis_settings.load_profile("taskq" if config.option.hypothesis_seed is None else "explore")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what throws dice, for ``make explore``; hypothesis marks its own."""
    for item in items:
        if "dice" in getattr(item, "fixturenames", ()):
            item.add_marker("chance")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what no process can send to another: hostile texts, in lines that a test logs, end xdist's worker."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Take from a test what the one before may have left: open connections, the clock, errors, where chance stands.

    It may not be allowed to use these connections, nor to tidy them up.
    """
    random.seed(seeds.seed_of(item.nodeid))
    clock.use(None)
    if error_keys := sys.modules.get("taskq.store.error_keys"):
        error_keys.forget()
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
    return FULL


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Return the dice of a test that leaves something to chance, and print what it takes to repeat it.

    They fall the same way each time: their seed follows from the name of the test.
    """
    seed = seeds.seed_of(request.node.nodeid)
    print(f"{seeds.VARIABLE}={seed}")
    return random.Random(seed)


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
