"""A message that kills the main process of each worker that reads it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from taskq import states
from taskq.models import Message, TaskRun
from tests.support.jobs import tasks as jobs
from tests.support.processes import Process
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = pytest.mark.faults

#: So a message that is counted once too often is not run.
LIMIT = 1


@pytest.mark.parametrize(
    ("database", "point", "deaths"),
    [
        # The first death is not counted: no row tells of which message the worker died.
        ("sqlite", "received", 1 + LIMIT),
        # Its refusal reads it once more.
        ("postgresql", "read", 2 + LIMIT),
    ],
    indirect=["database"],
)
def test_message_that_kills_each_worker_fails_at_its_limit_and_harms_no_other(
    alias: str, start_worker: StartWorker, notes: Path, point: str, deaths: int
) -> None:
    results = jobs.note.delay_many([(str(notes), n) for n in range(10)])
    poison = jobs.poison.delay()
    results += jobs.note.delay_many([(str(notes), n) for n in range(10, 20)])

    environment = {"TEST_POISON": point, "TEST_APPS": "tests.support.jobs,tests.support.deaths"}

    def start() -> Process:
        # It claims all messages at once.
        options = ("-P", "solo", "--prefetch-multiplier", "30")
        return start_worker(*options, ready=False, environment=environment, MAX_DELIVERIES=LIMIT)

    for _ in range(deaths):
        worker = start()
        assert worker.wait() == -signal.SIGKILL, worker.log
        assert not notes.read_text()
    start()
    wait_until(lambda: not Message.objects.using(alias).exists(), what="all messages to be settled")
    assert poison.state == states.FAILURE
    assert type(poison.result).__name__ == "WorkerLostError"
    assert {result.state for result in results} == {states.SUCCESS}
    assert sorted(int(line.split()[0]) for line in notes.read_text().splitlines()) == list(range(20))
    assert TaskRun.objects.using(alias).count() == 21
