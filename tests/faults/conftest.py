"""Workers that run the tests' own tasks with a short lease."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Process, Processes

StartWorker = Callable[..., Process]


@pytest.fixture
def start_worker(processes: Processes) -> StartWorker:
    """Start a worker with the tests' tasks; settings as keywords, without their prefix."""

    def start(*options: str, ready: bool = True, environment: dict[str, str] | None = None, **settings: Any) -> Process:
        values = {"TASKQ_LEASE": 5.0, "TASKQ_MAX_DELIVERIES": 50, **{f"TASKQ_{k}": v for k, v in settings.items()}}
        return processes.start_worker(
            "-c", "2", *options,
            ready=ready,
            DJANGO_SETTINGS_MODULE="tests.support.settings",
            TEST_SETTINGS=json.dumps(values),
            **(environment or {}),
        )  # fmt: skip

    return start


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A file in which tasks note what they do."""
    path = tmp_path / "notes"
    path.touch()
    return path
