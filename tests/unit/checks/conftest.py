"""Databases and tasks that exist for the checks alone."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.checks import databases
from tests.unit.checks.asking import Connections
from tests.unit.tasks.fixtures import registry

__all__ = ["registry"]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    made = Connections()
    monkeypatch.setattr(databases, "connections", made)
    return made


@pytest.fixture
def no_tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    from taskq.calls import registry

    made: dict[str, Any] = {}
    monkeypatch.setattr(registry, "tasks", made)
    return made
