"""Workers whose pool grows while tasks wait, and shrinks when they have ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taskq import control
from taskq.models import Worker
from tests.support.jobs import endings
from tests.support.processes import Process
from tests.support.waiting import wait_until

from .conftest import StartWorker

#: Without the app whose tasks have a hard time limit.
UNLIMITED = {"TEST_APPS": "tests.support.jobs"}


def order(command: str, **arguments: Any) -> Any:
    (found,) = control.broadcast(command, arguments, reply=True, limit=1, timeout=60) or [{"": "no reply"}]
    (reply,) = found.values()
    return reply


def stats() -> Any:
    (found,) = control.inspect(timeout=60, limit=1).stats().values()
    return found


def announced(alias: str) -> int:
    info: dict[str, int] = json.loads(Worker.objects.using(alias).exclude(state=Worker.CONSUMER).get().info)
    return info["concurrency"]


@pytest.mark.parametrize(
    ("database", "pool"),
    [("sqlite", "threads"), ("postgresql", "prefork")],
    indirect=["database"],
)
def test_pool_grows_to_what_waits_and_shrinks_again(
    alias: str, start_worker: StartWorker, notes: Path, go_on: Path, pool: str
) -> None:
    worker = start_worker("-P", pool, "--autoscale=4,1", AUTOSCALE_KEEPALIVE=0.1, environment=UNLIMITED)
    assert "concurrency: {min=1, max=4} (" in worker.log
    assert stats()["autoscaler"] == {"max": 4, "min": 1, "current": 1, "qty": 0}
    results = [endings.wait_for_file.delay(str(notes), str(go_on)) for _ in range(3)]
    wait_until(lambda: len(notes.read_text().splitlines()) == 3, what="three at once")
    wait_until(lambda: announced(alias) == 3, what="the row to have the concurrency")
    assert stats()["autoscaler"] == {"max": 4, "min": 1, "current": 3, "qty": 3}
    _check_commands(worker)
    go_on.touch()
    assert [result.get(timeout=60) for result in results] == ["done"] * 3
    wait_until(lambda: announced(alias) == 2, what="the pool to be as small as it may be now")
    assert endings.square.delay(3).get(timeout=60) == 9
    assert worker.stop() == 0, worker.log


def _check_commands(worker: Process) -> None:
    """No command resizes the pool past the autoscaler, whose limits change at once."""
    for command in ("pool_grow", "pool_shrink"):
        words = f"{command} is not supported with autoscale. Adjust autoscale range instead."
        assert order(command, n=1) == {"error": words}
    assert order("autoscale", max=7, min=5) == {"ok": "autoscale now max=7 min=5"}
    wait_until(lambda: stats()["autoscaler"]["current"] == 5, what="the fewest slots")
    worker.wait_for_log(r"The pool changes by \+2 to 5\.")
    assert order("autoscale", max=6, min=2) == {"ok": "autoscale now max=6 min=2"}
    for wrong in ({"max": 1}, {"min": 7}, {"max": "3"}, {"max": 10**6}, {"min": -1}, {"max": True}):
        assert "ValueError" in order("autoscale", **wrong)["error"]
    assert order("autoscale") == {"ok": "autoscale now max=6 min=2"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_pool_of_one_thread_can_not_grow(alias: str, start_worker: StartWorker) -> None:
    worker = start_worker("-P", "solo", "--autoscale", "3,1", ready=False, environment=UNLIMITED)
    assert worker.wait() == 1
    assert "The solo pool can't grow: --autoscale (TASKQ_AUTOSCALE)" in worker.log
