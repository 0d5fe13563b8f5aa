"""The main process killed at four points around the commit that settles, and blindly: follow-ups are sent once.

A callback gets its id when it is sent. So one that was sent twice would be two rows, and a lost one none.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from taskq import states
from taskq.models import Message, TaskRun
from tests.support.audit import audit, times_final
from tests.support.deaths import POINTS
from tests.support.jobs import flows, tasks
from tests.support.length import mainly_on
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

#: Workflows that are sent for each death.
EACH = 3


def _send(number: int) -> None:
    """Send chains of three links, the first two of which have a callback each: five tasks."""
    for place in range(EACH):
        first, second, third = flows.add.s(number, place), flows.add.s(1), flows.add.s(1)
        first.link(flows.same.s("first", number, place))
        second.link(flows.same.s("second", number, place))
        (first | second | third).apply_async()


def _check(alias: str, count: int) -> None:
    """Look that of every workflow there is each task once, and that each has become final once."""
    ends = times_final(alias)
    assert set(ends.values()) == {1}
    runs = TaskRun.objects.using(alias)
    assert set(runs.values_list("state", flat=True)) == {states.SUCCESS}
    assert Counter(runs.values_list("name", flat=True)) == {flows.add.name: 3 * count, flows.same.name: 2 * count}
    arguments = runs.filter(name=flows.same.name).values_list("arguments", flat=True)
    assert len(set(arguments)) == 2 * count


def _finish(alias: str, start_worker: StartWorker) -> None:
    start_worker("-n", "last")
    wait_until(
        lambda: (
            not (
                Message.objects.using(alias).exists()
                or TaskRun.objects.using(alias).exclude(state__in=states.READY_STATES).exists()
            )
        ),
        120,
        what="all tasks to end",
    )


def test_kill_at_each_point_repeats_no_callback(alias: str, start_worker: StartWorker, full_run: bool) -> None:
    # At the first time that a worker comes to the point, at the second, ...
    deaths = [f"{point}:{1 + number % 4}" for point in POINTS for number in range(25)]
    if not full_run:
        deaths = [f"{point}:{1 + number % 2}" for number, point in enumerate(POINTS)]
    with audit(alias):
        for number, death in enumerate(deaths):
            _send(number)
            worker = start_worker("-n", f"w{number}", ready=False, environment={"TEST_DEATH": death})
            assert worker.wait() == -signal.SIGKILL, f"{death}\n{worker.log}"
        _finish(alias, start_worker)
        _check(alias, EACH * len(deaths))


@mainly_on("mariadb")
def test_callback_is_sent_once_when_the_worker_is_killed_soon_after_the_tasks_effect(
    alias: str, start_worker: StartWorker, notes: Path, full_run: bool, dice: Random
) -> None:
    deaths = 100 if full_run else 3
    with audit(alias):
        for number in range(deaths):
            before = len(notes.read_text())
            tasks.note.apply_async((str(notes), number), link=flows.same.si("callback", number))
            worker = start_worker("-n", f"w{number}", ready=False)
            wait_until(lambda before=before: len(notes.read_text()) > before, 60, interval=0.0005, what="the effect")
            time.sleep(dice.uniform(0, 0.05))  # this is what is tested: a kill at any time in it
            worker.kill()
        _finish(alias, start_worker)
        ends = times_final(alias)
        assert set(ends.values()) == {1}
        names = Counter(TaskRun.objects.using(alias).values_list("name", flat=True))
        assert names == {tasks.note.name: deaths, flows.same.name: deaths}
        arguments = TaskRun.objects.using(alias).filter(name=flows.same.name).values_list("arguments", flat=True)
        assert len(set(arguments)) == deaths
