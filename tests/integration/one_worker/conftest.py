"""One worker on each database, for all modules here: they only send it tasks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.support import workers
from tests.support.databases import Database
from tests.support.processes import Process

#: The worker's ``TASKQ_MAX_MESSAGE_SIZE``, in bytes.
LARGEST = 2_000_000


@pytest.fixture(scope="package")
def worker(
    database: Database, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """A worker of the queues ``taskq`` and ``lopri`` with two children, which serves its metrics; it has to live."""
    with django_db_blocker.unblock(), workers.on(database, tmp_path_factory.mktemp("workers")) as processes:
        worker = workers.start_worker(
            processes, "-c", "2", "-Q", "taskq,lopri", SERVE="127.0.0.1:0", MAX_MESSAGE_SIZE=LARGEST
        )
        yield worker
        assert worker.stop() == 0, worker.log


@pytest.fixture
def alias(worker: Process, database: Database) -> str:
    """The alias of the worker's database, which is not emptied between tests."""
    return database.alias


@pytest.fixture(autouse=True)
def _unblocked(worker: Process, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield
