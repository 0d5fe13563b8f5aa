"""The state of a cluster, whatever the order in which its events come."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from taskq.events.state import ClusterState

RECEIVED = {"type": "task-received", "name": "add", "args": "(2, 2)", "kwargs": "{}", "timestamp": 1.0}
STARTED = {"type": "task-started", "timestamp": 2.0}
SUCCEEDED = {"type": "task-succeeded", "result": "4", "runtime": 0.1, "timestamp": 3.0}
RETRIED = {"type": "task-retried", "exception": "E()", "timestamp": 2.5}


def state_after(*events: dict[str, Any], **bounds: int) -> ClusterState:
    state = ClusterState(**bounds)
    for event in events:
        state.event({"uuid": "t1", "hostname": "w1@h", **event})
    return state


@pytest.mark.parametrize("events", list(itertools.permutations([RECEIVED, STARTED, SUCCEEDED])))
def test_any_order_gives_the_same_task(events: tuple[dict[str, Any], ...]) -> None:
    (task,) = state_after(*events).tasks.values()
    assert (task.state, task.name, task.args, task.result, task.worker) == ("SUCCESS", "add", "(2, 2)", "4", "w1@h")
    assert (task.received, task.started, task.succeeded) == (1.0, 2.0, 3.0)


def test_a_retry_begins_again() -> None:
    (task,) = state_after(RECEIVED, STARTED, RETRIED, RECEIVED).tasks.values()
    assert task.state == "RECEIVED"
    assert task.exception == "E()"


def test_the_oldest_are_forgotten() -> None:
    state = state_after(*({**RECEIVED, "uuid": f"t{n}"} for n in range(5)), max_tasks=2)
    assert list(state.tasks) == ["t3", "t4"]
    assert [task.uuid for task in state.recent_tasks(1)] == ["t4"]
    assert (state.task_count, state.event_count) == (5, 5)


def test_a_worker_is_alive_while_its_heartbeats_come() -> None:
    beat = {"type": "worker-heartbeat", "hostname": "w1@h", "freq": 600.0, "active": 1, "local_received": time.time()}
    (worker,) = state_after(beat).alive_workers()
    assert (worker.hostname, worker.active) == ("w1@h", 1)
    assert state_after({**beat, "local_received": time.time() - 3600}).alive_workers() == []
    assert [state_after({**beat, "freq": freq}).alive_workers()[0].freq for freq in ("2", None, 1e300)] == [60.0] * 3
    assert state_after(beat, {**beat, "type": "worker-offline"}).alive_workers() == []


def test_strange_events_harm_nothing() -> None:
    state = state_after(
        {"type": "task-received", "uuid": None}, {"type": "worker-heartbeat", "hostname": 3}, {"type": "x"}
    )
    assert (state.workers, state.tasks) == ({}, {})
