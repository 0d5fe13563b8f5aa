"""Rate limits in a real worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from taskq import control
from taskq.messages.parking import parking
from taskq.models import Message, RateLimit
from taskq.store import rates
from tests.support import workers
from tests.support.databases import Database
from tests.support.length import mainly_on
from tests.support.processes import Process, Processes
from tests.support.rated import tasks
from tests.support.waiting import wait_until

#: What the rows of limits and of the parking are on each database, is in tests/conformance/store.
pytestmark = mainly_on("sqlite", "postgresql")


@pytest.fixture(scope="module")
def worker(module_processes: Processes) -> Process:
    return workers.start_worker(module_processes, "-c", "2", environment={"TEST_APPS": "tests.support.rated"})


@pytest.fixture(autouse=True)
def _unblocked(worker: Process, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def starts(notes: Path, name: str) -> list[tuple[int, float]]:
    """Return the numbers of the tasks that have started, and when, in their order."""
    lines = [line.split() for line in notes.read_text().splitlines()]
    return sorted(((int(n), float(when)) for task, n, when in lines if task == name), key=lambda start: start[1])


def set_rate(name: str, rate: Any) -> Any:
    (found,) = control.rate_limit(f"tests.support.rated.tasks.{name}", rate, reply=True, limit=1, timeout=60)
    (reply,) = found.values()
    return reply


def are_in_time(found: list[tuple[int, float]], sent: float, ahead: float) -> bool:
    """Tell whether none of them started before 50 a second since ``sent`` allow it, but for ``ahead`` seconds.

    A slow machine only makes them later, so it makes no right limit wrong.
    """
    return all(when >= sent + place / 50 - ahead for place, (_, when) in enumerate(found))


def test_limited_tasks_start_at_their_rate(notes: Path) -> None:
    # A child's first task is late, by its imports: here it would hide a limit that is too high.
    for result in tasks.free.delay_many([(str(notes), n) for n in range(20)]):
        result.get(timeout=60)
    sent = time.time()
    tasks.fifty.delay_many([(str(notes), n) for n in range(150)])
    wait_until(lambda: len(starts(notes, "fifty")) == 150)
    assert are_in_time(starts(notes, "fifty"), sent, ahead=0.1)


def test_limit_holds_back_no_other_task_and_changes_live_for_what_waits(notes: Path) -> None:
    results = tasks.hourly.delay_many([(str(notes), n) for n in range(30)])
    wait_until(lambda: len(starts(notes, "hourly")) == 1, what="the one of this hour")
    tasks.free.delay(str(notes), 0).get(timeout=60)
    results[29].revoke()
    assert len(starts(notes, "hourly")) == 1
    assert "Invalid rate limit string" in set_rate("hourly", "many")["error"]
    assert set_rate("nothing", "1/s") == {"error": "unknown task"}
    assert set_rate("hourly", "1000/s") == {"ok": "new rate limit set successfully"}
    wait_until(lambda: len(starts(notes, "hourly")) == 29)
    assert results[29].state == "REVOKED"
    assert set_rate("hourly", None) == {"ok": "rate limit disabled successfully"}
    assert tasks.hourly.delay(str(notes), 30).get(timeout=60) is None
    assert set_rate("free", "1/h") == {"ok": "new rate limit set successfully"}
    last = tasks.free.delay_many([(str(notes), n) for n in (1, 2)])
    wait_until(lambda: len(starts(notes, "free")) == 2)
    assert set_rate("free", 0) == {"ok": "rate limit disabled successfully"}
    last[1].get(timeout=60)


def test_two_workers_share_a_limit_of_the_cluster_which_changes_live(
    database: Database, module_processes: Processes, notes: Path
) -> None:
    second = workers.start_worker(
        module_processes, "-c", "1", "-n", "second@%h", environment={"TEST_APPS": "tests.support.rated"}
    )
    sent = time.time()
    tasks.together.delay_many([(str(notes), n) for n in range(200)])
    second.wait_for_log(r"Task tests\.support\.rated\.tasks\.together\[.*succeeded")
    wait_until(lambda: len(starts(notes, "together")) == 200)
    # Both took their starts from one row.
    assert RateLimit.objects.using(database.alias).get(name="tests.support.rated.tasks.together").free_at >= sent + 3
    # A worker takes the starts of 0.2 s, up to a second before, and a slow answer of the database makes them early.
    assert are_in_time(starts(notes, "together"), sent, ahead=1.5)
    assert set_rate("together", "1/h") == {"ok": "new rate limit set successfully"}
    tasks.together.delay_many([(str(notes), n) for n in range(30)])
    tasks.free.delay(str(notes), 0).get(timeout=60)
    # Each of the two may have had ten left, and one is free in this hour.
    assert len(starts(notes, "together")) <= 200 + 21
    assert set_rate("together", 0) == {"ok": "rate limit disabled successfully"}
    wait_until(lambda: len(starts(notes, "together")) == 230)
    assert second.stop() == 0


def test_limit_that_is_written_into_its_row_is_heard_by_running_workers(database: Database, notes: Path) -> None:
    name = "tests.support.rated.tasks.later"
    parked = Message.objects.using(database.alias).filter(queue=parking("taskq", name))
    for number in range(3):
        tasks.later.delay(str(notes), number).get(timeout=60)
    rates.set_rate(name, 1 / 3600)
    numbers = count(3)

    def is_parked() -> bool:
        tasks.later.delay(str(notes), next(numbers))
        return parked.exists()

    wait_until(is_parked, what="the limit to hold")
    rates.set_rate(name, None)
    sent = next(numbers)
    wait_until(lambda: len(starts(notes, "later")) == sent, what="all to start")


def test_stop_leaves_what_waits_to_the_next_worker(
    database: Database, module_processes: Processes, notes: Path
) -> None:
    options, app = ("-c", "1", "-Q", "apart", "-n", "apart@%h"), {"TEST_APPS": "tests.support.rated"}
    first = workers.start_worker(module_processes, *options, environment=app)
    results = [tasks.hourly.apply_async((str(notes), n), queue="apart") for n in range(5)]
    wait_until(lambda: len(starts(notes, "hourly")) == 1)
    assert first.stop() == 0
    rows = Message.objects.using(database.alias).filter(name="tests.support.rated.tasks.hourly")
    assert list(rows.values_list("token", "deliveries")) == [("", 0)] * 4
    workers.start_worker(module_processes, *options, "--disable-rate-limits", environment=app)
    for result in results:
        result.get(timeout=60)
