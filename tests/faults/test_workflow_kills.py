"""Workers killed while workflows run: each ends with its value, and each task is settled once."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from taskq import chain, chord, group, states
from taskq.exceptions import ChordError
from taskq.models import Message, TaskRun
from tests.support.audit import audit, times_final
from tests.support.jobs import flows
from tests.support.jobs.flows import add, boom, same, total
from tests.support.killer import Killer
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

#: Workflows and their values; a class is that of the exception.
CANVASES: list[tuple[Any, Any]] = [
    (lambda: chain(add.s(1, 1), flows.second_try.s(), add.s(3)), 5),
    (lambda: chord([add.s(i, i) | add.s(1) for i in range(5)], total.s()) | add.s(100), 125),
    (lambda: add.s(1, 1) | group(add.s(1), add.s(2)) | total.s() | group(add.s(1), add.s(2)) | total.s(), 17),
    (lambda: chord([flows.becomes_chain.s(5), flows.second_try.s(1), flows.brings_along.s(1)], same.s()), None),
    (lambda: chord([chord([add.s(1, 1), flows.add_ignored.s(2, 2)], total.s()), add.s(3, 3)], total.s()), 12),
    (lambda: chord([add.s(1, 1) | boom.s() | add.s(1), add.s(1, 1)], total.s()) | add.s(1), ChordError),
]


def test_workflows_end_once_while_workers_and_children_are_killed(
    alias: str, start_worker: StartWorker, full_run: bool, dice: Random
) -> None:
    with audit(alias):
        sent = [(canvas()(), value) for _ in range(40 if full_run else 4) for canvas, value in CANVASES]
        killer = Killer(
            lambda name: start_worker("-n", name, ready=False),
            2,
            dice,
            interval=0.55 if full_run else 0.2,
            seconds=250 if full_run else 120,
            progress=lambda: times_final(alias).total(),
            workers=0.7,
            young=0.5,
        )

        def done() -> bool:
            killer.turn()
            return all(result.ready() for result, _ in sent) and not Message.objects.using(alias).exists()

        wait_until(done, 500, interval=0.05, what="all workflows to end")
        ends = times_final(alias)
    print(killer.killed)
    for result, value in sent:
        found = type(result.result) if result.failed() else result.result
        assert found == ([[12, 1, 1, 101]] if value is None else value)
    assert set(ends.values()) == {1}
    assert not TaskRun.objects.using(alias).exclude(state__in=states.READY_STATES).exists()
