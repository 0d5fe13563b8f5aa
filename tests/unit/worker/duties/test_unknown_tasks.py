"""When a worker looks for messages that others did not know."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.test import override_settings

from taskq.worker.duties import unknown_tasks
from taskq.worker.duties.unknown_tasks import UnknownTasks


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still, and how many messages a look finds; ``looks`` are the times of the looks."""
    world = SimpleNamespace(now=1000.0, found=0, looks=[])

    def hasten(names: object, within: float, alias: str) -> int:
        world.looks.append(world.now)
        return world.found

    monkeypatch.setattr(unknown_tasks, "time", SimpleNamespace(monotonic=lambda: world.now))
    monkeypatch.setattr(unknown_tasks, "hasten_unknown", hasten)
    return world


def passing(world: SimpleNamespace, duty: UnknownTasks, seconds: int) -> list[float]:
    """Let the duty work each second; return after how many seconds it looked."""
    began, world.looks = world.now, []
    for _ in range(seconds):
        duty.work()
        world.now += 1
    return [look - began for look in world.looks]


@override_settings(TASKQ_UNKNOWN_TASK_GRACE=12.0)
def test_worker_looks_until_none_were_found_for_the_grace(world: SimpleNamespace) -> None:
    duty = UnknownTasks("default")
    assert passing(world, duty, 5) == [0]
    world.found = 3
    assert passing(world, duty, 8) == [0, 5]
    world.found = 0
    assert passing(world, duty, 60) == [2, 7, 12]
    assert duty.due() == float("inf")


@override_settings(TASKQ_UNKNOWN_TASK_GRACE=0)
def test_worker_that_fails_unknown_tasks_at_once_never_looks(world: SimpleNamespace) -> None:
    assert passing(world, UnknownTasks("default"), 60) == []
