"""One worker on each database, for all modules here: it has one start for each message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from tests.support import workers
from tests.support.databases import Database
from tests.support.processes import Process


@pytest.fixture(scope="package")
def notes_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("canvas") / "notes"
    path.touch()
    return path


@pytest.fixture(scope="package")
def worker(
    database: Database, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory, notes_path: Path
) -> Iterator[Process]:
    with django_db_blocker.unblock(), workers.on(database, tmp_path_factory.mktemp("workers")) as processes:
        worker = workers.start_worker(
            processes, "-c", "2", MAX_DELIVERIES=1, environment={"TEST_NOTES": str(notes_path)}
        )
        yield worker
        assert worker.stop() == 0, worker.log


@pytest.fixture(autouse=True)
def alias(worker: Process, database: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    with django_db_blocker.unblock():
        yield database.alias
