"""Real workers: one for each test that stops it, one for each module that only sends it tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.support import workers
from tests.support.databases import Database
from tests.support.processes import Process, Processes

StartWorker = Callable[..., Process]


@pytest.fixture
def start_worker(processes: Processes) -> StartWorker:
    """Start a worker with the tests' tasks: options of the command, and settings as keywords without their prefix."""

    def start(*options: str, **settings: Any) -> Process:
        return workers.start_worker(processes, "-c", "1", *options, **settings)

    return start


@pytest.fixture(scope="module")
def module_processes(
    database: Database, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Processes]:
    """Processes that last for the module, on a database that the module has for itself."""
    with django_db_blocker.unblock(), workers.on(database, tmp_path_factory.mktemp("workers")) as processes:
        yield processes


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A file in which tasks note what they do."""
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def go_on(tmp_path: Path) -> Path:
    """A file that is not there: tasks wait for it."""
    return tmp_path / "go-on"
