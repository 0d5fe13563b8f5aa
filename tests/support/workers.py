"""Workers that know the tests' own tasks, with settings of the test's choice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db.models import QuerySet
from django.test import override_settings

from taskq.models import Worker

from .databases import Database
from .processes import Process, Processes


def start_worker(
    processes: Processes, *options: str, ready: bool = True, environment: dict[str, str] | None = None, **settings: Any
) -> Process:
    """Start a worker and, unless ``ready`` is false, wait until it takes tasks.

    ``settings`` are without their prefix and must be what JSON can carry.
    """
    return processes.start_worker(*options, ready=ready, **as_environment(settings), **(environment or {}))


def as_environment(settings: dict[str, Any]) -> dict[str, str]:
    """Return the variables with which any management command has the tests' tasks and these settings."""
    values = {f"TASKQ_{name}": value for name, value in settings.items()}
    return {"DJANGO_SETTINGS_MODULE": "tests.support.settings", "TEST_SETTINGS": json.dumps(values)}


def worker_rows(alias: str) -> QuerySet[Worker]:
    """Return the rows of workers, without those of connections of kombu, as a worker's remote control has one."""
    return Worker.objects.using(alias).exclude(state=Worker.CONSUMER)


@contextmanager
def on(database: Database, directory: Path) -> Iterator[Processes]:
    """Use ``database`` in this process and in processes started meanwhile; end these, then empty it."""
    processes = Processes(directory, {"DATABASE_URL": database.url, "TASKQ_BROKER_URL": "django://"})
    with override_settings(TASKQ_DATABASE=database.alias, TASKQ_BROKER_URL=f"django://{database.alias}"):
        try:
            yield processes
        finally:
            processes.end()
            database.clear()
