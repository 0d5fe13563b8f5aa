"""When a worker looks for messages that others did not know."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.test import override_settings

from taskq.worker.duties import unknown_tasks
from taskq.worker.duties.unknown_tasks import UnknownTasks


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still, how many messages a step finds, and its ``rest``; ``looks`` are the times of steps."""
    world = SimpleNamespace(now=1000.0, found=0, looks=[], steps=[], rest=None)

    def hasten(names: object, queues: object, within: float, after: object, alias: str) -> tuple[int, object]:
        world.looks.append(world.now)
        world.steps.append((queues, after))
        return world.found, world.rest

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
    duty = UnknownTasks("default", lambda: ["mail"])
    assert passing(world, duty, 5) == [0]
    world.found = 3
    assert passing(world, duty, 8) == [0, 5]
    world.found = 0
    assert passing(world, duty, 60) == [2, 7, 12]
    assert duty.due() == float("inf")


@override_settings(TASKQ_UNKNOWN_TASK_GRACE=0)
def test_worker_that_fails_unknown_tasks_at_once_never_looks(world: SimpleNamespace) -> None:
    assert passing(world, UnknownTasks("default", list), 60) == []


@override_settings(TASKQ_UNKNOWN_TASK_GRACE=12.0)
def test_messages_go_round_for_ten_times_the_grace_at_most(world: SimpleNamespace) -> None:
    world.found = 1
    looks = passing(world, UnknownTasks("default", list), 500)
    assert looks[-1] == 120
    assert looks == [*range(0, 121, 5)]


@override_settings(TASKQ_UNKNOWN_TASK_GRACE=12.0)
def test_a_look_has_steps_between_which_others_work(world: SimpleNamespace) -> None:
    queues = ["mail"]
    duty = UnknownTasks("default", lambda: queues)
    world.rest = "place"
    assert duty.work()
    assert (duty.due() or 0.0) <= 0
    world.found = 1
    queues = ["mail", "more"]
    assert duty.work()
    world.found, world.rest = 0, None
    assert not duty.work()
    assert world.steps == [(["mail"], None), (["mail", "more"], "place"), (["mail", "more"], "place")]
    # The next look begins at the first, and the second step has found some.
    assert passing(world, duty, 6) == [5]
    assert world.steps[-1] == (["mail", "more"], None)
