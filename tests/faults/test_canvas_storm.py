"""Random canvases while workers and their children are killed: each ends, once, with the reference's value."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from taskq import states
from taskq.models import Message, TaskRun
from taskq.results.group_result import GroupResult
from tests.support.audit import audit, times_final
from tests.support.canvases import Failed, built, drawn, expected
from tests.support.killer import Killer
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

START = 5


def _same(result: Any, value: Any) -> bool:
    """Tell whether results are what the reference says."""
    if isinstance(result, GroupResult):
        members = result.results
        return isinstance(value, list) and len(members) == len(value) and all(map(_same, members, value))
    if isinstance(value, Failed):
        return result.failed() and type(result.result).__name__ == value.kind
    found: bool = result.successful() and result.result == value
    return found


def test_random_canvases_end_with_their_values_while_workers_are_killed(
    alias: str, start_worker: StartWorker, full_run: bool, dice: Random
) -> None:
    canvases = [drawn(dice.randrange) for _ in range(200 if full_run else 30)]
    with audit(alias):
        results = [built(canvas).apply_async((START,)) for canvas in canvases]
        killer = Killer(
            lambda name: start_worker("-n", name, ready=False, MAX_DELIVERIES=100),
            2,
            dice,
            interval=0.4,
            seconds=300 if full_run else 120,
            progress=lambda: times_final(alias).total(),
            workers=0.4,
        )

        def ended() -> bool:
            killer.turn()
            return not TaskRun.objects.using(alias).exclude(state__in=states.READY_STATES).exists() and all(
                result.ready() for result in results
            )

        try:
            wait_until(ended, 600, interval=0.1, what="all canvases to end")
        finally:
            for canvas, result in zip(canvases, results, strict=True):
                if not result.ready():
                    print("not ended:", result.id, canvas)
        ends = times_final(alias)
    print(killer.killed)
    for canvas, result in zip(canvases, results, strict=True):
        assert _same(result, expected(canvas, START)), f"{canvas}"
    assert ends.keys() == set(TaskRun.objects.using(alias).values_list("task_id", flat=True))
    assert set(ends.values()) == {1}
    wait_until(lambda: not Message.objects.using(alias).exists(), what="the last messages to be acknowledged")
