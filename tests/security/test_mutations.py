"""Thousands of messages and rows, each changed in some place: the worker lives, and runs what is sent in between."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from taskq import AsyncResult, states
from taskq.models import Message, ScheduledMessage, TaskRun
from tests.support.jobs import pure
from tests.support.length import FULL
from tests.support.mutations import families, insert, mutant
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until
from tests.support.workers import start_worker

pytestmark = pytest.mark.timeout(3600 if FULL else 300)

COUNT = 10_000 if FULL else 300
#: How many mutants there are at a time, with an ordinary task among every so many.
AT_ONCE, EVERY = 100, 20
#: The most resident memory, in MiB, that the worker gains from the first batches on.
GROWTH = 24
QUEUE = "taskq"
CASES = (
    [(vendor, pool) for vendor in ("sqlite", "postgresql", "mariadb") for pool in ("prefork", "threads")]
    if FULL
    else [("sqlite", "prefork"), ("postgresql", "prefork")]
)


def memory(worker: Process) -> float:
    """Return the resident memory of the main process in MiB."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def waiting(alias: str) -> Any:
    return Message.objects.using(alias).filter(queue=QUEUE)


def open_runs(alias: str, told: dict[str, str]) -> list[str]:
    """Return the changes after which a task has not ended, though its message is gone and says that it has a row."""
    left = {task_id for model in (Message, ScheduledMessage) for task_id in ids_of(model, alias)}
    runs = TaskRun.objects.using(alias).exclude(state__in=states.READY_STATES).values_list("task_id", flat=True)
    hidden = ("Message.task_id", "Message.tracked", "TaskRun.task_id", "TaskRun.state")
    return [
        told[task_id]
        for task_id in runs
        if task_id in told and task_id not in left and not any(column in told[task_id] for column in hidden)
    ]


def ids_of(model: type[Message | ScheduledMessage], alias: str) -> set[str]:
    return set(model._base_manager.using(alias).values_list("task_id", flat=True))


@pytest.mark.parametrize(("database", "pool"), CASES, indirect=["database"])
def test_mutated_messages_and_rows_stop_nothing(alias: str, processes: Processes, dice: Random, pool: str) -> None:
    patterns = families(alias)
    environment = {"TEST_APPS": "tests.support.jobs"}
    # Nothing wakes the worker up for a row that was written past what sends.
    options = ("-c", "2", "-P", pool, "-Q", QUEUE)
    worker = start_worker(processes, *options, POLL_INTERVAL=0.1, environment=environment)
    ordinary: list[AsyncResult[Any]] = []
    told: dict[str, str] = {}
    sizes: list[float] = []
    taken = 0
    for _ in range(COUNT // AT_ONCE):
        for number in range(AT_ONCE):
            rows, what = mutant(dice.choice(patterns), QUEUE, dice)
            if insert(alias, rows):
                taken += 1
                told |= {row.task_id: what for row in rows if isinstance(row, Message)}
            if number % EVERY == 0:
                ordinary.append(pure.add.delay(number, 1))
        latest = [*told.values()][-AT_ONCE:]
        wait_until(lambda: not worker.running or not waiting(alias).exists(), 60, what=f"an empty queue after {latest}")
        assert worker.running, f"{latest}\n{worker.log[-5000:]}"
        sizes.append(memory(worker))
    assert taken > COUNT / 2
    assert Counter(result.state for result in ordinary) == {states.SUCCESS: len(ordinary)}
    assert max(sizes) - max(sizes[: max(1, len(sizes) // 10)]) < GROWTH, sizes
    assert not Message.objects.using(alias).exclude(token="").exists()
    assert not open_runs(alias, told)
    print(f"{taken} of {COUNT} were taken; memory {sizes[0]:.0f} to {sizes[-1]:.0f} MiB, at most {max(sizes):.0f}")
    assert worker.stop() == 0, worker.log
